import { describe, expect, it } from 'vitest';
import type { Follow, PlanState, Progress } from '../api/types';
import { arrange, tile } from './model';

const at = { now: Date.parse('2026-03-03T15:00:00Z'), zone: 'UTC', dayStart: 0 };
const follow = { plan_id: 'p', status: 'active', start_date: '2026-03-01', time_zone: 'UTC' } as Follow;
const meal = (position: number, time_min: number) => ({ position, time_min, items: {}, nutrients: {} });
const plan = {
  plan: { cycle: 'weekly', duration_days: 1 },
  days: { d: { number: 1, nutrients: {}, meals: { a: meal(0, 480), b: meal(1, 840), c: meal(2, 1200) } } },
} as unknown as PlanState;
const row = (meals_done: number): Progress => ({ meals_done, meals_planned: 3, meals_skipped: 0, planned: {}, eaten: {} });
const member = (name: string, done?: number) =>
  ({ name, since: '', follow, progress: Object.fromEntries(done === undefined ? [] : [['2026-03-03', row(done)]]) });

describe('the wall', () => {
  it('shows the next meal and which members are behind', () => {
    expect(tile('1', member('Ana', 0), plan, true, at)).toMatchObject({ attention: 'behind', behind: 1, next: { id: 'c' }, meals: 3 });
    expect(tile('2', member('Bea', 2), plan, true, at)).toMatchObject({ attention: undefined, behind: 0, done: 2 });
    expect(tile('3', { name: 'Cid', since: '', progress: {} }, undefined, false, at)).toMatchObject({ attention: 'no_plan' });
  });

  it('sorts members that need attention first, and matches names without accents', () => {
    const tiles = [tile('1', member('José', 2), plan, true, at), tile('2', member('Zoe', 0), plan, false, at)];
    expect(arrange(tiles, 'attention', 'all', '').map((of) => of.name)).toEqual(['Zoe', 'José']);
    expect(arrange(tiles, 'name', 'all', '').map((of) => of.name)).toEqual(['José', 'Zoe']);
    expect(arrange(tiles, 'name', 'online', '').map((of) => of.name)).toEqual(['José']);
    expect(arrange(tiles, 'name', 'all', 'jose').map((of) => of.name)).toEqual(['José']);
  });
});
