// One plan with its days and meals, live if it is published, and access to the meal editor.
import { useEffect, useState } from 'preact/hooks';
import { call, explain } from '../api/client';
import type { Plan, PlanState } from '../api/types';
import { ordered } from '../day/model';
import { kcal } from '../format';
import { t } from '../i18n';
import { useChannel } from '../live/connection';
import { href } from '../router';
import { mayEdit } from '../session';
import { Empty, ErrorNote, Macros, Skeleton } from '../ui/bits';
import { Drawer } from '../ui/Drawer';
import { Icon } from '../ui/Icon';
import { mealState } from './draft';
import { MealEditor } from './MealEditor';
import { MealRow } from './MealRow';

/** Converts a plan from REST to the form of the channel's snapshot. */
function planState({ days, nutrients, ...plan }: Plan): PlanState {
  return {
    plan, nutrients,
    days: Object.fromEntries(days.map(({ id, meals, ...day }) =>
      [id, { ...day, meals: Object.fromEntries(meals.map((meal) => [meal.id, mealState(meal)])) }])),
  };
}

export function PlanPage({ id }: { id: string }) {
  const [read, setRead] = useState<PlanState>();
  const [error, setError] = useState<string>();
  const [number, setNumber] = useState(1);
  const [editing, setEditing] = useState<string>();
  const load = (): void => {
    call<Plan>(`plans/${encodeURIComponent(id)}`).then((plan) => setRead(planState(plan)), (failure) => setError(explain(failure, t().noServer)));
  };
  useEffect(load, [id]);
  // A draft has no channel.
  const { state: live } = useChannel<PlanState>(read?.plan.status === 'published' ? `plan:${id}` : undefined);
  const state = live ?? read;

  if (!state) return <main class="page page-narrow" id="main"><ErrorNote text={error} />{!error && <Skeleton rows={4} tall />}</main>;
  const { plan } = state;
  const days = Object.values(state.days ?? {}).sort((a, b) => a.number - b.number);
  const day = days.find((one) => one.number === number) ?? days[0];
  const done = (): void => {
    setEditing(undefined);
    if (!live) load();
  };
  return (
    <main class="page page-narrow" id="main">
      <a class="button is-quiet editor-back" href={href('/plans')}><Icon name="left" />{t().navPlans}</a>
      <header class="plan-head">
        <h1>{plan.name}</h1>
        <p class="muted">
          <span class={`chip is-plan-${plan.status}`}>{t().planStatus[plan.status]}</span>
          {' '}{t().goal[plan.goal]} · {t().daysCount(plan.duration_days)} · {t().revision(plan.revision)}
          {plan.target?.energy_mkcal ? ` · ${t().targetKcal(kcal(plan.target.energy_mkcal))}` : ''}
        </p>
        {plan.description && <p>{plan.description}</p>}
      </header>
      <div class="day-picker" role="group" aria-label={t().days}>
        {days.map((one) => (
          <button key={one.number} aria-pressed={one.number === day?.number} onClick={() => setNumber(one.number)} title={one.title}>
            <span class="sr-only">{t().day} </span>{one.number}
          </button>
        ))}
      </div>
      {day ? (
        <section class="plan-day" aria-label={`${t().day} ${day.number}`}>
          <div class="plan-day-head">
            <h2>{day.title || `${t().day} ${day.number}`}</h2>
            <span class="kcal"><b>{kcal(day.nutrients.energy_mkcal)}</b> kcal</span>
            <Macros of={day.nutrients} />
          </div>
          <ul class="meal-rows">
            {ordered(day.meals).map((meal) => (
              <MealRow key={meal.id} id={meal.id} meal={meal} onEdit={mayEdit(plan) ? () => setEditing(meal.id) : undefined} />
            ))}
          </ul>
        </section>
      ) : <Empty icon="day" title={t().noMealsTitle} text={t().noMealsText} />}
      {editing && day && (
        <Drawer label={t().edit} title={<h2>{plan.name}</h2>} onClose={done}>
          <MealEditor plan={id} version={plan.version} meal={day.meals[editing]} day={day.number} id={editing} onDone={done}
            note={plan.status === 'published' ? t().editsForAll : undefined} />
        </Drawer>
      )}
    </main>
  );
}
