// The live connection of the signed-in person: one Centrifuge client, one store and one outbox, with their state as
// signals.
import { signal, type Signal } from '@preact/signals';
import { Centrifuge, UnauthorizedError } from 'centrifuge';
import { useEffect, useRef } from 'preact/hooks';
import { call, Problem } from '../api/client';
import type { MealOutcome, MemberState, PlanState } from '../api/types';
import { accessToken, me, renew } from '../session';
import { loadChanges, record, type ChangedMeal } from './changes';
import { Outbox, type Command, type Pending } from './outbox';
import { LiveStore, type Change, type Entry, type LiveClient, type Snapshot } from './store';

export type ConnectionState = 'connecting' | 'live' | 'offline';

export const connection = signal<ConnectionState>('connecting');
export const pending = signal<Pending[]>([]);

type Observer = (channel: string, entry: Entry, change: Change, meals: ChangedMeal[]) => void;
/** Callbacks for every change of a channel: the screen-reader announcer, the wall's feed. This file draws nothing. */
export const observers = new Set<Observer>();
/** Callbacks for commands that the server refused permanently. */
export const refusals = new Set<(command: Command, message: string) => void>();

const entries = new Map<string, Signal<Entry | undefined>>();
let store: LiveStore | undefined;
let outbox: Outbox | undefined;
let client: Centrifuge | undefined;

export function entry(channel: string): Signal<Entry | undefined> {
  let held = entries.get(channel);
  if (!held) entries.set(channel, (held = signal(store?.get(channel))));
  return held;
}

export function send(command: Command): void {
  outbox?.add(command);
}

/** Subscribes to channels while the component is mounted; read them with `entry(channel).value`. */
export function useChannels(channels: string[]): void {
  const held = useRef(new Map<string, () => void>());
  useEffect(() => {
    // The server itself subscribes the client to the member's own channel.
    const wanted = new Set(channels.filter((channel) => channel !== `member:${me.peek()?.account.id}`));
    for (const [channel, release] of held.current) {
      if (wanted.has(channel)) continue;
      held.current.delete(channel);
      release();
    }
    for (const channel of wanted) {
      if (!held.current.has(channel) && store) held.current.set(channel, store.watch(channel));
    }
  }, [channels.join()]);
  useEffect(() => () => held.current.forEach((release) => release()), []);
}

export function useChannel<T>(channel: string | undefined): { state?: T; entry?: Entry } {
  useChannels(channel ? [channel] : []);
  const found = channel ? entry(channel).value : undefined;
  return { state: found?.state as T | undefined, entry: found };
}

function onChange(channel: string, next: Entry, change: Change): void {
  entry(channel).value = store?.get(channel) ?? next;
  const meals = channel.startsWith('plan:') && next.state ? record(next.state as unknown as PlanState, change) : [];
  if (channel === `member:${me.value?.account.id}`) {
    const { completions } = (next.state ?? {}) as unknown as MemberState;
    outbox?.settle((command) => {
      const seen = completions?.[command.date]?.[command.meal_id];
      return command.method === 'meal.undo' ? !seen : seen !== undefined && seen.at >= (command.done?.completion?.at ?? '');
    });
  }
  for (const observer of observers) observer(channel, next, change, meals);
}

function onState(): void {
  const connected = client?.state === 'connected';
  const offline = !navigator.onLine || attempts > 1 || client?.state === 'disconnected';
  connection.value = connected ? 'live' : offline ? 'offline' : 'connecting';
}

let attempts = 0;

/** Delay before the client reconnects after a permanent close. */
const COME_BACK_MS = 5000;

/**
 * Reacts to a permanent close, which mostly means that the session ended or access changed. Fetching a new token tells
 * which: it either signs out, or shows that reconnecting may work. The delay avoids a loop if the server closes again.
 */
async function comeBack(closed: Centrifuge | undefined): Promise<void> {
  const renewed = await renew().then(() => true, (error: unknown) => !(error instanceof Problem && error.status === 401));
  if (renewed) setTimeout(() => closed === client && client?.state === 'disconnected' && (client.setToken(''), client.connect()), COME_BACK_MS);
}

export function connect(): void {
  disconnect();
  loadChanges();
  const account = me.value?.account.id ?? '';
  const box = new Outbox({
    storage: localStorage,
    key: `liveplan.outbox.${account}`,
    send: async (method, data) => {
      // Fail at once instead of letting the SDK wait and time out: the outbox retries.
      if (client?.state !== 'connected') throw { code: 1, message: 'offline' };
      return (await client.rpc(method, data)).data as MealOutcome;
    },
    onChange: (list) => (pending.value = list),
    onRefused: (command, message) => refusals.forEach((tell) => tell(command, message)),
  });
  outbox = box;
  pending.value = box.pending;
  store = new LiveStore({ fetchSnapshot: (url) => call<Snapshot>(url) });
  store.listen(onChange);
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  client = new Centrifuge(`${scheme}://${location.host}/connection/websocket`, {
    name: 'liveplan-web',
    maxReconnectDelay: 10_000,
    getToken: async () => {
      try {
        return await accessToken(true);
      } catch (error) {
        throw error instanceof Problem && error.status === 401 ? new UnauthorizedError('signed out') : error;
      }
    },
  });
  store.attach(client as unknown as LiveClient);
  client.on('connected', () => {
    attempts = 0;
    onState();
    void box.flush();
  });
  client.on('error', () => {
    attempts += 1;
    onState();
  });
  client.on('connecting', () => {
    attempts += 1;
    onState();
  });
  client.on('disconnected', (ctx) => {
    onState();
    if (ctx.code >= 3500) void comeBack(client);
  });
  addEventListener('online', onState);
  addEventListener('offline', onState);
  addEventListener('storage', onStorage);
  void accessToken().then((token) => {
    client?.setToken(token);
    client?.connect();
  }, () => undefined);
}

/** Another tab has changed the outbox or the recorded changes. */
function onStorage(event: StorageEvent): void {
  if (outbox && event.key?.startsWith('liveplan.outbox.')) pending.value = outbox.pending;
  if (event.key === 'liveplan.changes') loadChanges();
}

export function disconnect(): void {
  client?.disconnect();
  outbox?.stop();
  client = store = outbox = undefined;
  attempts = 0;
  connection.value = 'connecting';
  for (const held of entries.values()) held.value = undefined;
  pending.value = [];
  removeEventListener('online', onState);
  removeEventListener('offline', onState);
  removeEventListener('storage', onStorage);
}
