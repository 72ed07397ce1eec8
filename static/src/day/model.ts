// The model of a member's day: the plan day of a date, its meals in order, and their state including pending commands.
// Pure, so that the wall and the tests use it, too.
import type { Completion, DayState, Follow, MealState, Nutrients, PlanState, Progress } from '../api/types';
import { plus } from '../format';
import type { Pending } from '../live/outbox';

const DAY_MS = 86_400_000;

export function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);
}

export function daysBetween(from: string, to: string): number {
  return Math.round((Date.parse(`${to}T00:00:00Z`) - Date.parse(`${from}T00:00:00Z`)) / DAY_MS);
}

/** Date and minutes after midnight in a time zone. Before the gym's day start, the previous day goes on past 24:00. */
export function zoned(now: number, timeZone: string, dayStart = 0): { date: string; minutes: number } {
  const parts = new Intl.DateTimeFormat('en-CA', {
    timeZone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit',
  }).formatToParts(now);
  const part = (type: string): string => parts.find((p) => p.type === type)?.value ?? '00';
  const date = `${part('year')}-${part('month')}-${part('day')}`;
  const minutes = Number(part('hour')) * 60 + Number(part('minute'));
  return minutes < dayStart ? { date: addDays(date, -1), minutes: minutes + 1440 } : { date, minutes };
}

/** The number of the plan's day on a date; undefined before the plan starts and after it ends. */
export function dayNumber(follow: Follow, plan: PlanState['plan'], date: string): number | undefined {
  const index = daysBetween(follow.start_date, date);
  if (index < 0 || (plan.cycle === 'fixed' && index >= plan.duration_days)) return undefined;
  return (index % plan.duration_days) + 1;
}

export function dayOn(state: PlanState, follow: Follow, date: string): DayState | undefined {
  const number = dayNumber(follow, state.plan, date);
  return number === undefined ? undefined : Object.values(state.days ?? {}).find((day) => day.number === number);
}

export function ordered<T extends { position: number; time_min?: number }>(byId: Record<string, T> | undefined): (T & { id: string })[] {
  return Object.entries(byId ?? {})
    .map(([id, value]) => ({ ...value, id }))
    .sort((a, b) =>
      (a.time_min !== undefined && b.time_min !== undefined ? a.time_min - b.time_min : 0) || a.position - b.position);
}

export type MealStatus = 'open' | Completion['status'];

export interface Standing {
  status: MealStatus;
  permille: number;
  completion?: Completion;
  /** Whether a command for this meal is pending: queued or being sent. */
  waiting: boolean;
}

/** A meal's state on a date: the pending command's effect if there is one, otherwise the server's state. */
export function standing(completion: Completion | undefined, pending: Pending | undefined): Standing {
  if (!pending) {
    return { status: completion?.status ?? 'open', permille: completion?.portion_permille ?? 0, completion, waiting: false };
  }
  const waiting = !pending.done;
  if (pending.method === 'meal.undo') return { status: 'open', permille: 0, waiting };
  const status = pending.status ?? 'eaten';
  const permille = status === 'eaten' ? 1000 : status === 'skipped' ? 0 : (pending.portion_permille ?? 500);
  return { status, permille, completion: pending.done?.completion, waiting };
}

/** The latest command for a meal on a date. */
export function pendingFor(pending: Pending[], date: string, meal: string): Pending | undefined {
  return pending.findLast((command) => command.date === date && command.meal_id === meal);
}

export interface Summary {
  meals: number;
  done: number;
  skipped: number;
  planned: Nutrients;
  eaten: Nutrients;
}

/** The day's progress: the server's row adjusted by pending commands. Planned amounts come from the current plan. */
export function summary(
  day: DayState | undefined,
  row: Progress | undefined,
  completions: Record<string, Completion>,
  pending: Pending[],
): Summary {
  const meals = day?.meals ?? {};
  const total: Summary = {
    meals: day ? Object.keys(meals).length : (row?.meals_planned ?? 0),
    done: row?.meals_done ?? 0,
    skipped: row?.meals_skipped ?? 0,
    planned: day?.nutrients ?? row?.planned ?? {},
    eaten: row?.eaten ?? {},
  };
  const latest = new Map(pending.map((command) => [command.meal_id, command]));
  for (const [id, command] of latest) {
    const before = standing(completions[id], undefined);
    const after = standing(completions[id], command);
    total.done += counts(after.status) - counts(before.status);
    total.skipped += Number(after.status === 'skipped') - Number(before.status === 'skipped');
    const nutrients = meals[id]?.nutrients;
    if (nutrients) total.eaten = plus(total.eaten, nutrients, after.permille - before.permille);
  }
  return total;
}

const counts = (status: MealStatus): number => Number(status === 'eaten' || status === 'partial');

/** The first meal from now on without a completion; if completions are unknown, the next meal by time. */
export function nextMeal(day: DayState | undefined, minutes: number, done?: Record<string, unknown>): (MealState & { id: string }) | undefined {
  return ordered(day?.meals).find((meal) => meal.time_min !== undefined && meal.time_min >= minutes && !done?.[meal.id]);
}

/** How many meals were due more than an hour ago. */
export function mealsDue(day: DayState | undefined, minutes: number): number {
  return Object.values(day?.meals ?? {}).filter((meal) => meal.time_min !== undefined && meal.time_min + 60 < minutes).length;
}
