// The trainer's wall: all assigned members, live. It subscribes to one roster, and to each plan that a member follows.
import { useState } from 'preact/hooks';
import type { PlanState, RosterState } from '../api/types';
import { t } from '../i18n';
import { entry, useChannel, useChannels } from '../live/connection';
import { route } from '../router';
import { me, roles } from '../session';
import { Empty, Skeleton } from '../ui/bits';
import { Icon } from '../ui/Icon';
import { useNow } from '../ui/now';
import { Feed } from './Feed';
import { MemberPanel } from './MemberPanel';
import { MemberTile } from './MemberTile';
import { arrange, tile, type Only, type Order } from './model';
import { TrainerPicker } from './TrainerPicker';

export function WallPage() {
  const asked = route.value.searchParams.get('trainer');
  const own = roles.value.has('trainer') ? me.value?.account.id : undefined;
  const trainer = asked ?? own;
  return (
    <main class="page wall" id="main">
      {roles.value.has('manager') && <TrainerPicker chosen={trainer} />}
      {trainer ? <Wall key={trainer} trainer={trainer} /> : <Empty icon="wall" title={t().pickTrainerTitle} text={t().pickTrainerText} />}
    </main>
  );
}

function Wall({ trainer }: { trainer: string }) {
  const { state, entry: roster } = useChannel<RosterState>(`roster:${trainer}`);
  const members = state?.members ?? {};
  const plans = [...new Set(Object.values(members).flatMap((member) => (member.follow ? [member.follow.plan_id] : [])))].sort();
  useChannels(plans.map((plan) => `plan:${plan}`));
  const now = useNow();
  const [search, setSearch] = useState('');
  const [order, setOrder] = useState<Order>('attention');
  const [only, setOnly] = useState<Only>('all');
  const [opened, setOpened] = useState<string>();

  if (roster?.refused) return <Empty icon="warn" title={t().noAccessTitle} text={t().noAccessText} />;
  if (!state) return <Skeleton rows={6} tall />;
  const gym = me.value?.gym;
  const at = { now, zone: gym?.time_zone ?? 'UTC', dayStart: gym?.day_start ?? 0 };
  const tiles = Object.entries(members).map(([id, member]) => tile(
    id, member, member.follow && (entry(`plan:${member.follow.plan_id}`).value?.state as PlanState | undefined),
    roster?.online[id] === true, at));
  if (tiles.length === 0) return <Empty icon="wall" title={t().noMembersTitle} text={t().noMembersText} />;
  const shown = arrange(tiles, order, only, search);
  const panel = tiles.find((of) => of.id === opened);
  return (
    <>
      <header class="wall-head">
        <h1>{trainer === me.value?.account.id ? t().wallTitle : t().wallOfTrainer}</h1>
        <p class="muted wall-counts">
          {t().wallCounts(tiles.length, tiles.filter((of) => of.online).length, tiles.filter((of) => of.attention).length)}
        </p>
        <div class="wall-tools">
          <label class="search">
            <Icon name="search" size={18} /><span class="sr-only">{t().searchMember}</span>
            <input type="search" placeholder={t().searchMember} value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
          </label>
          <label class="select"><span class="sr-only">{t().show}</span>
            <select value={only} onChange={(event) => setOnly(event.currentTarget.value as Only)}>
              {(['all', 'online', 'attention'] as const).map((key) => <option key={key} value={key}>{t().only[key]}</option>)}
            </select>
          </label>
          <label class="select"><span class="sr-only">{t().sortBy}</span>
            <select value={order} onChange={(event) => setOrder(event.currentTarget.value as Order)}>
              {(['attention', 'name', 'progress'] as const).map((key) => <option key={key} value={key}>{t().order[key]}</option>)}
            </select>
          </label>
        </div>
      </header>
      <div class="wall-columns">
        <div>
          <ul class="tiles">{shown.map((of) => <MemberTile key={of.id} of={of} onOpen={() => setOpened(of.id)} />)}</ul>
          {shown.length === 0 && <p class="muted nothing">{t().nobodyMatches}</p>}
        </div>
        <Feed />
      </div>
      {panel && <MemberPanel of={panel} onClose={() => setOpened(undefined)} />}
    </>
  );
}
