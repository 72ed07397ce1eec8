// The queue of commands to send. A tick is stored before it is sent and stays until the server replies, so that a tick
// made offline is sent later, with the same idempotency key (the server gives a repeat the first reply). Commands are
// sent one after another, because an undo must not overtake its tick. No DOM, no framework.
import type { Completion, MealCommand, MealOutcome } from '../api/types';

export type Method = 'meal.complete' | 'meal.undo';

export interface Command extends MealCommand { method: Method }

/** A command as the screens see it: queued or being sent or, with `done`, answered but not yet in the snapshot. */
export interface Pending extends Command { done?: { completion?: Completion } }

export interface OutboxOptions {
  storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  key: string;
  send: (method: Method, data: MealCommand) => Promise<MealOutcome>;
  onChange: (pending: Pending[]) => void;
  onRefused: (command: Command, message: string) => void;
  /** How long to keep an answered command while its event is on the way; 4 s by default. */
  linger_ms?: number;
}

/** Codes of temporary errors: the SDK's own (below 100) and the server's. A retry with the same key is safe. */
const passing = new Set([100, 101, 109, 111, 1401, 1429, 1503, 1504]);

export class Outbox {
  readonly #options: OutboxOptions;
  #answered: Pending[] = [];
  #running = false;
  #again = false;
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: string | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** The stored commands. Read from storage each time, since other tabs write to it, too. */
  get waiting(): Command[] {
    try {
      return JSON.parse(this.#options.storage.getItem(this.#options.key) ?? '[]') as Command[];
    } catch {
      return [];
    }
  }

  get pending(): Pending[] {
    return [...this.#answered, ...this.waiting];
  }

  add(command: Command): void {
    const same = (other: Command): boolean =>
      other.meal_id === command.meal_id && other.date === command.date && other.member_id === command.member_id;
    // A new command for the same meal replaces one that has not been sent.
    const others = this.waiting.filter((other) => !same(other) || other.key === this.#sending);
    this.#answered = this.#answered.filter((other) => !same(other));
    this.#write([...others, command]);
    void this.flush();
  }

  /** Drops answered commands that the snapshot now includes, or that something newer has replaced. */
  settle(isSettled: (pending: Pending) => boolean): void {
    const left = this.#answered.filter((pending) => !isSettled(pending));
    if (left.length === this.#answered.length) return;
    this.#answered = left;
    this.#options.onChange(this.pending);
  }

  /** Sends the queued commands. Call it after adding one, and after every reconnect. */
  async flush(): Promise<void> {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    clearTimeout(this.#timer);
    try {
      do {
        this.#again = false;
        for (let next = this.waiting[0]; next; next = this.waiting[0]) {
          if (!(await this.#deliver(next))) return;
        }
      } while (this.#again);
    } finally {
      this.#running = false;
      this.#sending = undefined;
    }
  }

  async #deliver(command: Command): Promise<boolean> {
    const { method, ...data } = command;
    this.#sending = command.key;
    try {
      const outcome = await this.#options.send(method, data);
      this.#tries = 0;
      const answered: Pending = { ...command, done: { completion: outcome.completion } };
      this.#answered.push(answered);
      setTimeout(() => this.settle((pending) => pending === answered), this.#options.linger_ms ?? 4000);
      this.#write(this.waiting.filter((other) => other.key !== command.key));
      return true;
    } catch (error) {
      const { code = 0, message = '' } = (error ?? {}) as { code?: number; message?: string };
      if (code < 100 || passing.has(code)) {
        this.#tries += 1;
        this.#timer = setTimeout(() => void this.flush(), Math.min(30_000, 1000 * 2 ** this.#tries));
        return false;
      }
      this.#write(this.waiting.filter((other) => other.key !== command.key));
      this.#options.onRefused(command, message);
      return true;
    }
  }

  /** Stops the retries; for a change of account. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#again = false;
  }

  #write(commands: Command[]): void {
    if (commands.length > 0) this.#options.storage.setItem(this.#options.key, JSON.stringify(commands));
    else this.#options.storage.removeItem(this.#options.key);
    this.#options.onChange(this.pending);
  }
}
