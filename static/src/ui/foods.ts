import type { ItemState } from '../api/types';
import { ordered } from '../day/model';
import { foodName, weight } from '../format';

/** A meal's foods in one line, in their order. */
export function foodsLine(meal: { items: Record<string, ItemState> }): string {
  return ordered(meal.items).map((item) => `${foodName(item)} ${weight(item.grams_milli)}`).join(', ');
}
