// Maps channels to their state on top of a Centrifuge client: replaces the state on a fresh subscription, keeps it on a
// recovery, merges every publication, and fetches snapshots that are too large for the reply. It knows neither the DOM
// nor the meaning of channels; the server's property test drives it from Node, with a real client or by calling its
// handlers.
import { applyPatch, type Json } from './merge';

/** The payload of a publication. */
export interface LiveEvent {
  v: number;
  type: string;
  id?: string;
  at: string;
  actor?: string;
  patch: Json;
}

/** The answer of `GET /live/snapshots/{channel}`. */
export interface Snapshot {
  epoch: string;
  offset: number;
  snapshot: Json;
}

/** The state of a channel; `state` is absent until the first snapshot has arrived. */
export interface Entry {
  state?: Json;
  /** Presence, which is neither stored in the log nor part of the snapshot. */
  online: Record<string, boolean>;
  offset: number;
  epoch: string;
  /** Whether the channel is subscribed at the moment. */
  live: boolean;
  /** Set if the server refused the subscription permanently. */
  refused?: { code: number; reason: string };
}

/** Why an entry changed: an event, or a new snapshot (with the state before it). */
export interface Change {
  event?: LiveEvent;
  before?: Json;
}

export type Listener = (channel: string, entry: Entry, change: Change) => void;

/** The fields of the SDK's subscribe context that are used here. */
export interface SubscribedContext {
  channel: string;
  wasRecovering: boolean;
  recovered: boolean;
  streamPosition?: { offset: number; epoch: string };
  data?: unknown;
}

export interface PublicationContext {
  channel: string;
  data: unknown;
  offset?: number;
}

/** The parts of a Centrifuge subscription and client that are used here, so that any SDK build or a fake fits. */
interface Emitter {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on(event: any, handler: (ctx: any) => void): unknown;
}
export interface LiveSubscription extends Emitter {
  subscribe(): void;
  unsubscribe(): void;
}
export interface LiveClient extends Emitter {
  newSubscription(channel: string): LiveSubscription;
  removeSubscription(sub: LiveSubscription | null): void;
}

export interface LiveOptions {
  fetchSnapshot: (url: string, channel: string) => Promise<Snapshot>;
  /** Waits before the n-th retry of a failed fetch; tests replace it. */
  pause?: (attempt: number) => Promise<void>;
}

interface Held {
  entry: Entry;
  /** Publications that arrived during a fetch of the snapshot; absent if there is none. */
  waiting?: PublicationContext[];
  generation: number;
}

const backoff = (attempt: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.min(30_000, 500 * 2 ** attempt)));

export class LiveStore {
  readonly #held = new Map<string, Held>();
  readonly #listeners = new Set<Listener>();
  readonly #watched = new Map<string, { count: number; sub: LiveSubscription }>();
  readonly #serverSide = new Set<string>();
  readonly #options: LiveOptions;
  #client: LiveClient | undefined;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** Follows a client's server-side subscriptions, and subscribes through this client from now on. */
  attach(client: LiveClient): void {
    this.#client = client;
    client.on('subscribed', (ctx: SubscribedContext) => {
      this.#serverSide.add(ctx.channel);
      this.subscribed(ctx);
    });
    client.on('publication', (ctx: PublicationContext) => this.publication(ctx));
    client.on('subscribing', (ctx: { channel: string }) => this.lost(ctx.channel));
    client.on('unsubscribed', (ctx: { channel: string }) => {
      this.#serverSide.delete(ctx.channel);
      this.lost(ctx.channel);
    });
  }

  /** Subscribes to a channel until the returned function is called; callers share one subscription. */
  watch(channel: string): () => void {
    // The server has subscribed the client to this channel already; subscribing again would be error 105.
    if (!this.#client || this.#serverSide.has(channel)) return () => {};
    const watched = this.#watched.get(channel) ?? { count: 0, sub: this.#subscribe(this.#client, channel) };
    this.#watched.set(channel, watched);
    watched.count += 1;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      watched.count -= 1;
      if (watched.count > 0) return;
      this.#watched.delete(channel);
      watched.sub.unsubscribe();
      this.#client?.removeSubscription(watched.sub);
      this.#held.delete(channel);
    };
  }

  get(channel: string): Entry | undefined {
    return this.#held.get(channel)?.entry;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Handles a new or renewed subscription. */
  subscribed(ctx: SubscribedContext): void {
    const held = this.#hold(ctx.channel);
    const { online, last_seen: _, ...data } = (ctx.data ?? {}) as Record<string, Json>;
    const position = ctx.streamPosition ?? { offset: 0, epoch: '' };
    const present = online === undefined ? held.entry.online : (online as Record<string, boolean>);
    if (ctx.wasRecovering && ctx.recovered) {
      // The missed publications follow as ordinary ones; a fetch in progress continues.
      this.#set(ctx.channel, held, { ...held.entry, online: present, live: true, refused: undefined }, {});
      return;
    }
    held.generation += 1;
    if (data.fetch === true && typeof data.url === 'string') {
      held.waiting = [];
      held.entry = { ...held.entry, ...position, online: present, live: true, refused: undefined };
      void this.#fetch(ctx.channel, held, data.url);
      return;
    }
    held.waiting = undefined;
    this.#set(ctx.channel, held, { state: data, online: present, ...position, live: true }, { before: held.entry.state });
  }

  publication(ctx: PublicationContext): void {
    const held = this.#hold(ctx.channel);
    const event = ctx.data as LiveEvent;
    if (!ctx.offset) {
      const { online } = applyPatch({ online: held.entry.online }, event.patch) as { online?: Record<string, boolean> };
      this.#set(ctx.channel, held, { ...held.entry, online: online ?? {} }, { event });
      return;
    }
    if (held.waiting) {
      held.waiting.push(ctx);
      return;
    }
    if (held.entry.state === undefined || ctx.offset <= held.entry.offset) return;
    const before = held.entry.state;
    this.#set(ctx.channel, held, { ...held.entry, state: applyPatch(before, event.patch), offset: ctx.offset }, { event, before });
  }

  /** Handles a lost subscription: the state stays but is marked as not live. */
  lost(channel: string, refused?: { code: number; reason: string }): void {
    const held = this.#held.get(channel) ?? (refused ? this.#hold(channel) : undefined);
    if (held) this.#set(channel, held, { ...held.entry, live: false, refused }, {});
  }

  async #fetch(channel: string, held: Held, url: string): Promise<void> {
    const generation = held.generation;
    for (let attempt = 0; ; attempt += 1) {
      let got: Snapshot | undefined;
      try {
        got = await this.#options.fetchSnapshot(url, channel);
      } catch {
        got = undefined;
      }
      if (held.generation !== generation || this.#held.get(channel) !== held) return;
      // A snapshot older than the subscription would leave a gap; one of another epoch does not match later
      // publications.
      const fits = got && (attempt >= 5 || (got.offset >= held.entry.offset && got.epoch === held.entry.epoch));
      if (got && fits) {
        const waiting = held.waiting ?? [];
        held.waiting = undefined;
        const before = held.entry.state;
        const next = { ...held.entry, state: got.snapshot, offset: got.offset, epoch: got.epoch };
        this.#set(channel, held, next, { before });
        for (const ctx of waiting) this.publication(ctx);
        return;
      }
      await (this.#options.pause ?? backoff)(attempt);
    }
  }

  #subscribe(client: LiveClient, channel: string): LiveSubscription {
    const sub = client.newSubscription(channel);
    sub.on('subscribed', (ctx: SubscribedContext) => this.subscribed(ctx));
    sub.on('publication', (ctx: PublicationContext) => this.publication(ctx));
    sub.on('subscribing', () => this.lost(channel));
    sub.on('unsubscribed', (ctx: { code: number; reason: string }) => this.lost(channel, ctx));
    sub.subscribe();
    return sub;
  }

  #hold(channel: string): Held {
    let held = this.#held.get(channel);
    if (!held) {
      held = { entry: { online: {}, offset: 0, epoch: '', live: false }, generation: 0 };
      this.#held.set(channel, held);
    }
    return held;
  }

  #set(channel: string, held: Held, entry: Entry, change: Change): void {
    held.entry = entry;
    for (const listener of this.#listeners) listener(channel, entry, change);
  }
}
