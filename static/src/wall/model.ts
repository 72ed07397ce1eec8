// The model of the trainer's wall, derived from the roster, the followed plans and the clock. Pure.
import type { DayState, Follow, MealState, PlanState, Progress, RosterState } from '../api/types';
import { addDays, dayOn, mealsDue, nextMeal, ordered, zoned } from '../day/model';
import { folded } from '../format';

export type Attention = 'no_plan' | 'paused' | 'behind' | 'quiet';

export interface Tile {
  id: string;
  name: string;
  online: boolean;
  follow?: Follow;
  today: string;
  minutes: number;
  row?: Progress;
  day?: DayState;
  meals: number;
  done: number;
  /** Meals with a completion: eaten, in part or skipped. */
  recorded: number;
  next?: MealState & { id: string };
  attention?: Attention;
  /** Meals that were due more than an hour ago and have no completion. */
  behind: number;
}

export interface Clock { now: number; zone: string; dayStart: number }

type Member = RosterState['members'][string];

export function tile(id: string, member: Member, plan: PlanState | undefined, online: boolean, at: Clock): Tile {
  const follow = member.follow;
  const { date: today, minutes } = zoned(at.now, follow?.time_zone ?? at.zone, at.dayStart);
  const row = member.progress?.[today];
  const day = follow && plan && follow.status === 'active' ? dayOn(plan, follow, today) : undefined;
  const done = row?.meals_done ?? 0;
  const recorded = done + (row?.meals_skipped ?? 0);
  const behind = Math.max(0, mealsDue(day, minutes) - recorded);
  const began = follow ? addDays(today, -1) >= follow.start_date : false;
  const yesterday = member.progress?.[addDays(today, -1)];
  const attention: Attention | undefined = !follow ? 'no_plan'
    : follow.status === 'paused' ? 'paused'
    : behind > 0 ? 'behind'
    : began && day && recorded === 0 && !(yesterday && yesterday.meals_done + yesterday.meals_skipped > 0) ? 'quiet'
    : undefined;
  return {
    id, name: member.name, online, follow, today, minutes, row, day, done, recorded, behind, attention,
    meals: day ? Object.keys(day.meals).length : (row?.meals_planned ?? 0),
    next: upcoming(day, minutes, recorded),
  };
}

/** The next meal. The roster counts completions but names no meals, so the day's first meals count as recorded. */
function upcoming(day: DayState | undefined, minutes: number, recorded: number): Tile['next'] {
  const taken = ordered(day?.meals).slice(0, recorded).map((meal) => [meal.id, true] as const);
  return nextMeal(day, minutes, Object.fromEntries(taken));
}

export type Order = 'attention' | 'name' | 'progress';
export type Only = 'all' | 'online' | 'attention';

const urgency: Record<Attention, number> = { behind: 3, quiet: 2, no_plan: 1, paused: 0.5 };

export function arrange(tiles: Tile[], order: Order, only: Only, search: string): Tile[] {
  const wanted = folded(search.trim());
  const need = (of: Tile): number => (of.attention ? urgency[of.attention] * 100 + of.behind : 0);
  const by: Record<Order, (a: Tile, b: Tile) => number> = {
    attention: (a, b) => need(b) - need(a),
    name: () => 0,
    progress: (a, b) => (a.meals ? a.done / a.meals : 2) - (b.meals ? b.done / b.meals : 2),
  };
  return tiles
    .filter((of) => (only === 'online' ? of.online : only === 'attention' ? of.attention : true))
    .filter((of) => folded(of.name).includes(wanted))
    .sort((a, b) => by[order](a, b) || a.name.localeCompare(b.name));
}
