// The state of a meal form, its difference from the meal that it started from, and the three-way merge that keeps the
// user's input when somebody else has saved in the meantime. Pure.
import type { ItemState, Meal, MealPatch, MealState, NewItem } from '../api/types';
import { ordered } from '../day/model';
import { same } from '../live/changes';

export interface DraftItem {
  key: string;
  food_id: string;
  name_en: string;
  name_es: string;
  unit: string;
  /** As typed: may be empty or incomplete. */
  amount: string;
  /** Thousandths of a gram per unit. */
  per_unit: number;
  /** Thousandths of a kilocalorie per gram. */
  energy_per_gram: number;
}

export interface Draft { title: string; time: string; notes: string; items: DraftItem[] }
export type Field = keyof Draft;
export const fields: Field[] = ['title', 'time', 'notes', 'items'];

export const timeText = (minutes: number | undefined): string =>
  minutes === undefined ? '' : `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;

export function timeMinutes(text: string): number | null {
  const [hours, minutes] = text.split(':').map(Number);
  return hours === undefined || minutes === undefined || Number.isNaN(hours + minutes) ? null : hours * 60 + minutes;
}

/** Parses a typed amount, with a decimal point or comma; undefined unless it is a positive number. */
export function amount(text: string): number | undefined {
  const value = Number(text.trim().replace(',', '.'));
  return text.trim() !== '' && Number.isFinite(value) && value > 0 ? value : undefined;
}

export const itemGrams = (item: DraftItem): number => Math.round((amount(item.amount) ?? 0) * item.per_unit);

function draftItem(item: ItemState & { id: string }): DraftItem {
  const inGrams = item.unit === 'g' || item.quantity_milli === 0;
  return {
    key: item.id, food_id: item.food_id, name_en: item.name_en, name_es: item.name_es,
    unit: inGrams ? 'g' : item.unit,
    amount: String((inGrams ? item.grams_milli : item.quantity_milli) / 1000),
    per_unit: inGrams ? 1000 : (item.grams_milli * 1000) / item.quantity_milli,
    energy_per_gram: item.grams_milli ? (item.nutrients.energy_mkcal ?? 0) / (item.grams_milli / 1000) : 0,
  };
}

export function draft(meal: MealState): Draft {
  return {
    title: meal.title, time: timeText(meal.time_min), notes: meal.notes ?? '',
    items: ordered(meal.items).map(draftItem),
  };
}

/** The content of items without their keys, since a replaced list comes back with new ids. */
const content = (items: DraftItem[]): unknown => items.map((item) => [item.food_id, item.unit, amount(item.amount)]);

export function changedFields(from: Draft, to: Draft): Field[] {
  return fields.filter((field) =>
    field === 'items' ? !same(content(from.items), content(to.items)) : from[field].trim() !== to[field].trim());
}

/** Rebases `mine` from the meal it started from onto the current one: touched fields stay, others follow `theirs`. */
export function rebase(base: Draft, mine: Draft, theirs: Draft): Draft {
  const touched = new Set(changedFields(base, mine));
  return {
    title: touched.has('title') ? mine.title : theirs.title,
    time: touched.has('time') ? mine.time : theirs.time,
    notes: touched.has('notes') ? mine.notes : theirs.notes,
    items: touched.has('items') ? mine.items : theirs.items,
  };
}

export function problems(of: Draft): { title: boolean; items: string[] } {
  return { title: of.title.trim() === '', items: of.items.filter((item) => amount(item.amount) === undefined).map((item) => item.key) };
}

/** The request body, with the touched fields only. */
export function patch(base: Draft, mine: Draft): MealPatch {
  const body: MealPatch = {};
  for (const field of changedFields(base, mine)) {
    if (field === 'title') body.title = mine.title.trim();
    else if (field === 'time') body.time_min = timeMinutes(mine.time);
    else if (field === 'notes') body.notes = mine.notes.trim();
    else body.items = mine.items.map(newItem);
  }
  return body;
}

function newItem(item: DraftItem, position: number): NewItem {
  const thousandths = Math.round((amount(item.amount) ?? 0) * 1000);
  const how = item.unit === 'g' ? { grams_milli: thousandths } : { quantity_milli: thousandths, unit: item.unit };
  return { food_id: item.food_id, ...how, position };
}

/** Converts a meal from REST (items in a list) to the form of the channel's snapshot. */
export function mealState({ id: _, items, ...rest }: Meal): MealState {
  return { ...rest, items: Object.fromEntries(items.map(({ id, ...item }) => [id, item])) };
}
