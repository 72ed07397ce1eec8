// Records which meals changed, when, in which revision and by whom. It compares a plan's tree before and after, which
// works for an event as well as for a new snapshot. Records are kept for a day, across reloads.
import { signal } from '@preact/signals';
import type { MealState, PlanState } from '../api/types';
import type { Change } from './store';

export interface MealChange {
  at: string;
  revision: number;
  kind: 'added' | 'changed';
  actor?: string;
}

const KEY = 'liveplan.changes';
const KEPT_MS = 24 * 3_600_000;

/** Changes by meal id. */
export const changes = signal<Record<string, MealChange>>({});

export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => same(left[key], right[key]));
}

function meals(state: PlanState): Map<string, MealState> {
  return new Map(Object.values(state.days ?? {}).flatMap((day) => Object.entries(day.meals ?? {})));
}

export interface ChangedMeal { id: string; meal: MealState; kind: MealChange['kind'] }

/** The meals of `after` that are new or differ from `before`. */
export function changedMeals(before: PlanState, after: PlanState): ChangedMeal[] {
  if (before.days === after.days) return [];
  const old = meals(before);
  return [...meals(after)]
    .filter(([id, meal]) => !same(old.get(id), meal))
    .map(([id, meal]) => ({ id, meal, kind: old.has(id) ? 'changed' : 'added' }));
}

/** Records which meals a change of a plan's channel added or changed, and returns them. */
export function record(after: PlanState, change: Change): ChangedMeal[] {
  if (!change.before) return [];
  const found = changedMeals(change.before as unknown as PlanState, after);
  if (found.length === 0) return found;
  const at = change.event?.at ?? new Date().toISOString();
  const next = { ...changes.value };
  for (const { id, kind } of found) next[id] = { at, revision: after.plan.revision, kind, actor: change.event?.actor };
  changes.value = fresh(next);
  try {
    localStorage.setItem(KEY, JSON.stringify(changes.value));
  } catch {
    // If storage is full or forbidden, only the badge is lost on a reload.
  }
  return found;
}

export function loadChanges(): void {
  try {
    changes.value = fresh(JSON.parse(localStorage.getItem(KEY) ?? '{}'));
  } catch {
    changes.value = {};
  }
}

function fresh(all: Record<string, MealChange>): Record<string, MealChange> {
  const oldest = Date.now() - KEPT_MS;
  return Object.fromEntries(Object.entries(all).filter(([, change]) => Date.parse(change.at) > oldest));
}
