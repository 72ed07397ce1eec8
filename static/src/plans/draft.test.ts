import { describe, expect, it } from 'vitest';
import type { MealState } from '../api/types';
import { amount, changedFields, draft, itemGrams, patch, rebase } from './draft';

const item = (position: number, grams: number, unit = 'g', quantity = grams) => ({
  position, food_id: `f${position}`, name_en: 'Bread', name_es: 'Pan', unit, quantity_milli: quantity * 1000,
  grams_milli: grams * 1000, nutrients: { energy_mkcal: grams * 2500 }, allergens: {},
});
const meal = {
  slot: 'lunch', title: 'Lunch', time_min: 845, position: 0, notes: '', nutrients: {},
  items: { b: item(1, 60, 'slice', 2), a: item(0, 120) },
} as MealState;

describe('a meal being edited', () => {
  it('starts with the amounts of the meal, in grams or in portions', () => {
    const form = draft(meal);
    expect(form).toMatchObject({ title: 'Lunch', time: '14:05', notes: '' });
    expect(form.items.map((i) => [i.unit, i.amount, itemGrams(i)])).toEqual([['g', '120', 120_000], ['slice', '2', 60_000]]);
    expect(changedFields(form, draft(meal))).toEqual([]);
  });

  it('sends only the touched fields', () => {
    const base = draft(meal);
    expect(patch(base, { ...base, time: '', notes: ' ' })).toEqual({ time_min: null });
    const more = base.items.map((i) => (i.unit === 'slice' ? { ...i, amount: '2,5' } : i));
    expect(patch(base, { ...base, title: 'Dinner', items: more })).toEqual({
      title: 'Dinner',
      items: [{ food_id: 'f0', grams_milli: 120_000, position: 0 }, { food_id: 'f1', quantity_milli: 2500, unit: 'slice', position: 1 }],
    });
  });

  it('clears the notes with an empty text, since null would keep them', () => {
    const base = draft({ ...meal, notes: 'Warm' });
    expect(patch(base, { ...base, notes: ' ' })).toEqual({ notes: '' });
  });

  it('keeps touched fields and adopts the others', () => {
    const base = draft(meal);
    const mine = { ...base, title: 'Mine' };
    const theirs = draft({ ...meal, title: 'Theirs', time_min: 900 });
    expect(rebase(base, mine, theirs)).toMatchObject({ title: 'Mine', time: '15:00' });
  });

  it('parses amounts with a decimal point or comma', () => {
    expect([amount('1,5'), amount(' 2.25 '), amount(''), amount('0'), amount('x')]).toEqual([1.5, 2.25, undefined, undefined, undefined]);
  });
});
