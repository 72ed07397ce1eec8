// The member's day. The follow, completions and progress come from the member's own channel, to which the server
// subscribes the client; the meals come from the plan's channel. Commands that are pending in the outbox are applied on
// top of both.
import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import type { MemberState, PlanState } from '../api/types';
import { t } from '../i18n';
import { randomId } from '../ids';
import { changes } from '../live/changes';
import { entry, pending, send, useChannel } from '../live/connection';
import { me } from '../session';
import { Empty, Skeleton } from '../ui/bits';
import { useNow } from '../ui/now';
import { DateStrip } from './DateStrip';
import { MealCard, type Act } from './MealCard';
import { dayNumber, dayOn, nextMeal, ordered, pendingFor, standing, summary, zoned, type Standing } from './model';
import { Summary } from './Summary';

/** The name of the followed plan, for the header. */
export const planName = signal<string | undefined>(undefined);

export function DayPage() {
  const who = me.value;
  const member = entry(`member:${who?.account.id}`).value?.state as MemberState | undefined;
  const follow = member?.follow;
  const { state: plan } = useChannel<PlanState>(follow && `plan:${follow.plan_id}`);
  const now = useNow();
  const zone = follow?.time_zone ?? who?.account.time_zone ?? who?.gym.time_zone ?? 'UTC';
  const { date: today, minutes } = zoned(now, zone, who?.gym.day_start);
  const [picked, pick] = useState<string>();
  const chosen = picked ?? today;

  const name = plan?.plan.name ?? follow?.plan_name;
  useEffect(() => {
    planName.value = name;
    return () => (planName.value = undefined);
  }, [name]);

  if (!member) return <main class="page day" id="main"><Skeleton rows={4} tall /></main>;
  const dates = <DateStrip chosen={chosen} today={today} progress={member.progress ?? {}} onChoose={pick} />;
  if (!follow) {
    return <main class="page day" id="main"><Empty icon="leaf" title={t().noPlanTitle} text={t().noPlanText} /></main>;
  }
  if (!plan) return <main class="page day" id="main">{dates}<Skeleton rows={4} tall /></main>;

  const day = dayOn(plan, follow, chosen);
  const completions = member.completions?.[chosen] ?? {};
  const underway = pending.value.filter((command) => command.date === chosen);
  const meals = ordered(day?.meals);
  const standingOf = (id: string): Standing => standing(completions[id], pendingFor(underway, chosen, id));
  const recorded = Object.fromEntries(meals.filter(({ id }) => standingOf(id).status !== 'open').map(({ id }) => [id, true]));
  const next = chosen === today ? nextMeal(day, minutes, recorded)?.id : undefined;
  const gone = Object.entries(completions).filter(([id]) => !day?.meals[id]);

  const act = (meal: string): Act => (action, permille) => {
    const base = { key: randomId(), meal_id: meal, date: chosen };
    if (action === 'undo') send({ ...base, method: 'meal.undo' });
    else send({ ...base, method: 'meal.complete', status: action, ...(action === 'partial' ? { portion_permille: permille } : {}) });
  };

  return (
    <main class="page day" id="main">
      {dates}
      {follow.status === 'paused' && <p class="banner">{t().paused}</p>}
      {meals.length === 0 && gone.length === 0 ? (
        <Empty icon="day" title={t().noMealsTitle} text={day ? t().noMealsText : t().outsidePlan} />
      ) : (
        <div class="day-columns">
          <div class="day-aside">
            <Summary of={summary(day, member.progress?.[chosen], completions, underway)} />
            <p class="day-note">
              {t().planDay(dayNumber(follow, plan.plan, chosen) ?? 0, plan.plan.duration_days)}{day?.title ? ` · ${day.title}` : ''}
            </p>
          </div>
          <section class="meals" aria-label={t().meals}>
            {meals.map((meal) => (
              <MealCard key={meal.id} id={meal.id} meal={meal} next={meal.id === next} zone={zone} act={act(meal.id)}
                standing={standingOf(meal.id)}
                change={changes.value[meal.id]?.actor === who?.account.id ? undefined : changes.value[meal.id]} />
            ))}
            {gone.map(([id, completion]) => (
              <article key={id} class="meal is-gone" data-testid={`meal-${id}`}>
                <h2>{completion.title}</h2>
                <p class="muted">{t().status[completion.status]} · {t().noLongerInPlan}</p>
              </article>
            ))}
          </section>
        </div>
      )}
    </main>
  );
}
