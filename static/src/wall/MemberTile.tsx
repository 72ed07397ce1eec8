import { clock, kcal, relative } from '../format';
import { t } from '../i18n';
import { Avatar } from '../ui/bits';
import { Bar } from '../ui/Meter';
import { slotName } from '../ui/slot';
import { touched } from './feed';
import type { Tile } from './model';

/** Eaten and planned energy of the tile; planned energy comes from the current plan. */
function energy(of: Tile): { eaten: number; planned: number | undefined } {
  return {
    eaten: of.row?.eaten.energy_mkcal ?? 0,
    planned: of.day?.nutrients.energy_mkcal ?? of.row?.planned.energy_mkcal,
  };
}

export function MemberTile({ of, onOpen }: { of: Tile; onOpen: () => void }) {
  const { eaten, planned } = energy(of);
  const flash = touched.value[of.id];
  const amount = t().kcalOf(kcal(eaten), kcal(planned));
  return (
    <li class={`tile${of.attention ? ' needs-attention' : ''}`} data-testid={`member-${of.id}`}>
      {flash !== undefined && Date.now() - flash < 4000 && <div key={flash} class="flash" aria-hidden="true" />}
      <div class="tile-head">
        <span class="tile-face">
          <Avatar name={of.name} />
          <span class={`online-dot${of.online ? ' is-online' : ''}`} data-testid="online-dot" data-online={of.online} title={of.online ? t().online : t().away} />
        </span>
        <span class="tile-name">
          <button class="tile-open" onClick={onOpen}>{of.name}</button>
          <span class="muted">
            <span class="sr-only">{of.online ? t().online : t().away}. </span>
            {of.follow?.plan_name ?? t().noPlanShort}
          </span>
        </span>
        {of.attention && (
          <span class={`chip is-${of.attention === 'behind' ? 'warn' : 'quiet'}`}>
            {of.attention === 'behind' ? t().behind(of.behind) : t().attention[of.attention]}
          </span>
        )}
      </div>
      <div class="tile-progress">
        <Bar value={eaten} max={planned} label={t().energy} text={amount} testid="member-bar" />
        {of.meals > 0 && (
          <p>
            <span><b>{of.done}</b> / {of.meals} {t().mealsWord}</span>
            <span><b>{kcal(eaten)}</b> / {kcal(planned)} kcal</span>
          </p>
        )}
      </div>
      <p class="tile-next">
        {of.next ? (
          <>
            <span class="muted">{t().nextMeal} · {clock(of.next.time_min ?? 0)} · {relative((of.next.time_min ?? 0) - of.minutes)}</span>
            <b>{of.next.title || slotName(of.next.slot)}</b>
          </>
        ) : <span class="muted">{!of.day ? t().nothingToday : of.recorded >= of.meals ? t().allRecorded : t().noMoreMeals}</span>}
      </p>
    </li>
  );
}
