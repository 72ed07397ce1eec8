// Recent activity, newest first, derived from events of the roster and of the plans. Kept until the tab closes.
import { signal } from '@preact/signals';
import type { PlanState, Progress, RosterState } from '../api/types';
import { observers } from '../live/connection';
import type { Change, Entry } from '../live/store';

export interface FeedRow {
  id: string;
  at: string;
  type: string;
  /** The name of the member, or of the plan. */
  who: string;
  member?: string;
  meal?: string;
  actor?: string;
  done?: number;
  planned?: number;
}

const LENGTH = 60;
export const feed = signal<FeedRow[]>([]);
/** Time of the last change by member, so that the member's tile flashes. */
export const touched = signal<Record<string, number>>({});

function rosterRows(entry: Entry, { event, before }: Change): FeedRow[] {
  const patch = (event?.patch ?? {}) as { members?: Record<string, { progress?: Record<string, Progress> } | null> };
  return Object.entries(patch.members ?? {}).flatMap(([member, part]) => {
    const names = (state: unknown): string | undefined => (state as RosterState | undefined)?.members?.[member]?.name;
    const row = Object.values(part?.progress ?? {}).find((value) => value);
    const who = names(entry.state) ?? names(before);
    if (!event || !who) return [];
    return [{
      id: `${event.id ?? event.at}${member}`, at: event.at, type: event.type, who, member, actor: event.actor,
      done: row?.meals_done, planned: row?.meals_planned,
    }];
  });
}

function note(channel: string, entry: Entry, change: Change, meals: { meal: { title: string } }[]): void {
  const { event } = change;
  if (!event || !entry.state || event.type === 'presence.changed') return;
  let rows: FeedRow[] = [];
  if (channel.startsWith('roster:')) {
    rows = rosterRows(entry, change);
    const now = Date.now();
    touched.value = { ...touched.value, ...Object.fromEntries(rows.map((row) => [row.member, now])) };
  } else if (channel.startsWith('plan:')) {
    const { plan } = entry.state as unknown as PlanState;
    const meal = meals.map((changed) => changed.meal.title).filter(Boolean).join(', ') || undefined;
    rows = [{ id: event.id ?? event.at, at: event.at, type: event.type, who: plan.name, meal, actor: event.actor }];
  }
  const known = new Set(feed.value.map((row) => row.id));
  rows = rows.filter((row) => !known.has(row.id));
  if (rows.length > 0) feed.value = [...rows, ...feed.value].slice(0, LENGTH);
}

observers.add(note);

export function forgetFeed(): void {
  feed.value = [];
  touched.value = {};
}
