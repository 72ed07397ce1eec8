// Formats numbers, times and names for the chosen language, with Intl.
import type { Nutrients } from './api/types';
import { language } from './i18n';

const cache = new Map<string, Intl.NumberFormat>();
function numbers(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = language.value + JSON.stringify(options);
  let format = cache.get(key);
  if (!format) cache.set(key, (format = new Intl.NumberFormat(language.value, options)));
  return format;
}

const plain = { useGrouping: 'always' } as unknown as Intl.NumberFormatOptions; // "1.850" in Spanish too

export function number(value: number, digits = 0): string {
  return numbers({ ...plain, maximumFractionDigits: digits }).format(value);
}
export const kcal = (mkcal: number | undefined): string => (mkcal === undefined ? '–' : number(Math.round(mkcal / 1000)));
export const grams = (mg: number | undefined): string => (mg === undefined ? '–' : number(Math.round(mg / 1000)));
export const percent = (permille: number): string =>
  numbers({ style: 'percent', maximumFractionDigits: 0 }).format(permille / 1000);

/** A weight, such as `120 g`. */
export const weight = (gramsMilli: number): string => `${number(gramsMilli / 1000, gramsMilli < 10_000 ? 1 : 0)}\u00a0g`;

/** Formats minutes after midnight as a time of day. */
export function clock(minutes: number): string {
  const hour = Math.floor(minutes / 60) % 24;
  return new Intl.DateTimeFormat(language.value, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: 'UTC' })
    .format(Date.UTC(2024, 0, 1, hour, minutes % 60));
}

/** The time of day of an instant in a time zone (by default the browser's). */
export function time(instant: string | number, timeZone?: string): string {
  return new Intl.DateTimeFormat(language.value, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone })
    .format(new Date(instant));
}
export function dateTime(instant: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(instant));
}

/** A calendar date (`YYYY-MM-DD`), which has no time zone. */
export function date(day: string, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat(language.value, { ...options, timeZone: 'UTC' }).format(new Date(`${day}T00:00:00Z`));
}

/** A relative time, such as "in 25 min" or "hace 1,5 h". */
export function relative(minutes: number): string {
  const format = new Intl.RelativeTimeFormat(language.value, { numeric: 'auto', style: 'short' });
  return Math.abs(minutes) < 60 ? format.format(minutes, 'minute') : format.format(Math.round(minutes / 30) / 2, 'hour');
}

export function foodName(food: { name_en: string; name_es: string }): string {
  return language.value === 'es' ? food.name_es || food.name_en : food.name_en || food.name_es;
}

/** The quantity of a food, such as `2 slices`; undefined if it is given in grams. */
export function quantity(item: { quantity_milli: number; unit: string }): string | undefined {
  return item.unit === 'g' ? undefined : `${number(item.quantity_milli / 1000, 2)} ${item.unit}`;
}

export const initials = (name: string): string =>
  name.split(/\s+/).filter(Boolean).slice(0, 2).map((word) => [...word][0]?.toLocaleUpperCase() ?? '').join('');

/** `part` divided by `whole`, clamped to 0 to 1; 0 if either is unknown. */
export function share(part: number | undefined, whole: number | undefined): number {
  return part === undefined || !whole ? 0 : Math.max(0, Math.min(1, part / whole));
}

/** The sum of two sets of nutrients, the second one scaled. An unknown amount counts as 0 if the other is known. */
export function plus(left: Nutrients, right: Nutrients, permille: number): Nutrients {
  const sum: Record<string, number> = {};
  for (const key of ['energy_mkcal', 'protein_mg', 'carbohydrate_mg', 'fat_mg'] as const) {
    if (left[key] === undefined && right[key] === undefined) continue;
    sum[key] = Math.max(0, (left[key] ?? 0) + Math.round(((right[key] ?? 0) * permille) / 1000));
  }
  return sum;
}

/** Text without accents and case, so that "jose" matches "José". */
export const folded = (text: string): string => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
