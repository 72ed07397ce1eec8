// One meal of the member's day: its foods, the recorded completion, and the buttons to record one.
import { useState } from 'preact/hooks';
import type { MealState } from '../api/types';
import { clock, foodName, kcal, percent, quantity, time, weight } from '../format';
import { t } from '../i18n';
import type { MealChange } from '../live/changes';
import { connection } from '../live/connection';
import { Kcal, Macros } from '../ui/bits';
import { foodsLine } from '../ui/foods';
import { Icon } from '../ui/Icon';
import { ordered, type Standing } from './model';
import { PartChooser } from './PartChooser';

export type Act = (action: 'eaten' | 'partial' | 'skipped' | 'undo', permille?: number) => void;

interface MealCardProps {
  id: string;
  meal: MealState;
  standing: Standing;
  change?: MealChange;
  next: boolean;
  zone: string;
  act: Act;
}

export function MealCard({ id, meal, standing, change, next, zone, act }: MealCardProps) {
  const [choosing, setChoosing] = useState(false);
  const { status, completion } = standing;
  const open = status === 'open';
  const name = meal.title || t().slot[meal.slot];
  const late = change && completion && !standing.waiting && completion.plan_revision < change.revision;
  const recent = change !== undefined && Date.now() - Date.parse(change.at) < 6000;
  return (
    // The flash is keyed by the time of the change, so that a second change restarts the animation.
    <article class={`meal is-${status}${next ? ' is-next' : ''}`} data-testid={`meal-${id}`} data-status={status}
      data-pending={standing.waiting || undefined} aria-labelledby={`title-${id}`}>
      {recent && <div key={change.at} class="flash" aria-hidden="true" />}
      <header class="meal-head">
        <div>
          <p class="meal-when">
            {meal.time_min !== undefined && <time>{clock(meal.time_min)}</time>}
            <span>{t().slot[meal.slot]}</span>
            {next && <span class="chip is-next">{t().nextUp}</span>}
          </p>
          <h2 id={`title-${id}`}>{name}</h2>
        </div>
        <Kcal of={meal.nutrients} />
      </header>
      {(change || late) && (
        <p class="meal-badges">
          {change && (
            <span class="chip is-changed" data-testid="changed-badge">
              <Icon name="edit" size={14} />
              {change.kind === 'added' ? t().addedByTrainer : t().changedByTrainer} · {time(change.at, zone)}
            </span>
          )}
          {late && <span class="chip is-warn" data-testid="changed-after"><Icon name="warn" size={14} />{t().changedAfterEating}</span>}
        </p>
      )}
      {open ? <Foods of={meal} /> : <p class="foods-line">{foodsLine(meal)}</p>}
      {open && meal.notes && <p class="meal-notes">{meal.notes}</p>}
      {open && <Macros of={meal.nutrients} />}
      {choosing && (
        <PartChooser initial={status === 'partial' ? standing.permille : 500} name={name}
          onSave={(permille) => { setChoosing(false); act('partial', permille); }} onCancel={() => setChoosing(false)} />
      )}
      <footer class="meal-foot">
        <StatusLine standing={standing} zone={zone} />
        <div class="meal-actions">
          {open && (
            <button class="button is-primary" data-testid="tick" onClick={() => act('eaten')} aria-label={t().eatenOf(name)}>
              <Icon name="check" />{t().markEaten}
            </button>
          )}
          {(open || status === 'partial') && !choosing && (
            <button class="button" data-testid="part" onClick={() => setChoosing(true)} aria-label={t().partOf(name)}>
              <Icon name="part" />{t().markPart}
            </button>
          )}
          {open && (
            <button class="button is-quiet" data-testid="skip" onClick={() => act('skipped')} aria-label={t().skipOf(name)}>
              <Icon name="skip" />{t().markSkipped}
            </button>
          )}
          {!open && (
            <button class="button is-quiet" data-testid="undo" onClick={() => act('undo')} aria-label={t().undoOf(name)}>
              <Icon name="undo" />{t().undo}
            </button>
          )}
        </div>
      </footer>
    </article>
  );
}

function Foods({ of }: { of: MealState }) {
  return (
    <ul class="foods">
      {ordered(of.items).map((item) => (
        <li key={item.id}>
          <span class="food">
            <span class="food-name">{foodName(item)}</span>{' '}
            <span class="food-amount">{[quantity(item), weight(item.grams_milli)].filter(Boolean).join(' · ')}</span>
          </span>
          <span class="food-kcal">{kcal(item.nutrients.energy_mkcal)} kcal</span>
        </li>
      ))}
    </ul>
  );
}

const icons = { eaten: 'check', partial: 'part', skipped: 'skip' } as const;

function StatusLine({ standing, zone }: { standing: Standing; zone: string }) {
  const { status, permille, completion, waiting } = standing;
  const text = status === 'partial' ? t().statusPartial(percent(permille)) : t().status[status];
  return (
    <p class={`meal-status is-${status}`} data-testid="meal-status" data-status={status}>
      {status !== 'open' && <span class="status-mark"><Icon name={icons[status]} size={16} /></span>}
      <span>
        {text}
        {completion && status !== 'open' && <span class="muted"> · {time(completion.at, zone)}</span>}
        {completion?.on_behalf && <span class="muted"> · {t().byTrainer}</span>}
        {waiting && <span class="status-waiting" data-testid="pending"> · {connection.value === 'offline' ? t().queued : t().sending}</span>}
      </span>
    </p>
  );
}
