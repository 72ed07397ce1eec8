import { describe, expect, it } from 'vitest';
import type { Completion, DayState, Follow, PlanState } from '../api/types';
import { addDays, dayNumber, nextMeal, ordered, standing, summary, zoned } from './model';

const follow = { start_date: '2026-03-01' } as Follow;
const plan = (cycle: 'fixed' | 'weekly'): PlanState['plan'] => ({ cycle, duration_days: 7 }) as PlanState['plan'];
const meal = (position: number, time_min: number | undefined, kcal: number) =>
  ({ slot: 'lunch', title: 't', position, time_min, nutrients: { energy_mkcal: kcal * 1000 }, items: {} }) as const;
const day = { number: 1, nutrients: { energy_mkcal: 900_000 }, meals: { b: meal(1, 840, 600), a: meal(0, 480, 300) } } as unknown as DayState;
const eaten: Completion = { status: 'eaten', portion_permille: 1000, title: 't', plan_revision: 1, on_behalf: false, at: '2026-03-01T08:00:00Z' };

describe('days', () => {
  it('end with a fixed plan and repeat with a weekly one', () => {
    expect(dayNumber(follow, plan('fixed'), '2026-02-28')).toBeUndefined();
    expect(dayNumber(follow, plan('fixed'), '2026-03-07')).toBe(7);
    expect(dayNumber(follow, plan('fixed'), '2026-03-08')).toBeUndefined();
    expect(dayNumber(follow, plan('weekly'), '2026-03-08')).toBe(1);
  });

  it('are neither lost nor repeated when the clocks change', () => {
    expect(addDays('2026-03-28', 1)).toBe('2026-03-29');
    expect(addDays('2026-03-29', 1)).toBe('2026-03-30');
  });

  it("are in the member's time zone and start at the gym's day start", () => {
    const instant = Date.parse('2026-06-10T23:30:00Z');
    expect(zoned(instant, 'Europe/Madrid')).toEqual({ date: '2026-06-11', minutes: 90 });
    expect(zoned(instant, 'Europe/Madrid', 240)).toEqual({ date: '2026-06-10', minutes: 1530 });
    expect(zoned(instant, 'America/Bogota')).toEqual({ date: '2026-06-10', minutes: 1110 });
  });
});

describe('meals', () => {
  it('are sorted by time, or by position if a time is missing', () => {
    expect(ordered(day.meals).map((m) => m.id)).toEqual(['a', 'b']);
  });

  it('include a next one: the first from now on that is not recorded', () => {
    expect(nextMeal(day, 400)?.id).toBe('a');
    expect(nextMeal(day, 400, { a: eaten })?.id).toBe('b');
    expect(nextMeal(day, 900)).toBeUndefined();
  });

  it('show a pending command over the state of the server', () => {
    const undo = { method: 'meal.undo', key: 'k', meal_id: 'a', date: '2026-03-01' } as const;
    expect(standing(eaten, undo)).toMatchObject({ status: 'open', waiting: true });
    const part = { ...undo, method: 'meal.complete', status: 'partial', portion_permille: 400 } as const;
    expect(standing(undefined, part)).toMatchObject({ status: 'partial', permille: 400, waiting: true });
  });

  it('change the summary while their command is pending', () => {
    const row = { meals_planned: 2, meals_done: 1, meals_skipped: 0, planned: {}, eaten: { energy_mkcal: 300_000 } };
    const tick = { method: 'meal.complete', key: 'k', meal_id: 'b', date: '2026-03-01', status: 'partial', portion_permille: 500 } as const;
    expect(summary(day, row, { a: eaten }, [tick])).toMatchObject({ meals: 2, done: 2, eaten: { energy_mkcal: 600_000 } });
    const undo = { ...tick, method: 'meal.undo', meal_id: 'a' } as const;
    expect(summary(day, row, { a: eaten }, [undo])).toMatchObject({ done: 0, eaten: { energy_mkcal: 0 } });
  });
});
