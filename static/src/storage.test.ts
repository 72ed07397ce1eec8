import { expect, test } from 'vitest';
import { forgetStored } from './storage';

class Memory implements Storage {
  readonly #entries = new Map<string, string>();
  get length(): number { return this.#entries.size; }
  key(n: number): string | null { return [...this.#entries.keys()][n] ?? null; }
  getItem(name: string): string | null { return this.#entries.get(name) ?? null; }
  setItem(name: string, value: string): void { this.#entries.set(name, value); }
  removeItem(name: string): void { this.#entries.delete(name); }
  clear(): void { this.#entries.clear(); }
}

test('everything of the app is removed, and nothing of others', () => {
  const storage = new Memory();
  for (const name of ['liveplan.session', 'other', 'liveplan.outbox.1', 'liveplan.changes', 'liveplan']) storage.setItem(name, '1');
  forgetStored(storage);
  expect(Array.from({ length: storage.length }, (_, n) => storage.key(n))).toEqual(['other', 'liveplan']);
});
