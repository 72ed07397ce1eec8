import { describe, expect, it } from 'vitest';
import type { MealCommand } from '../api/types';
import { Outbox, type Command, type Method } from './outbox';

const memory = () => {
  const held = new Map<string, string>();
  return {
    getItem: (key: string) => held.get(key) ?? null,
    setItem: (key: string, value: string) => void held.set(key, value),
    removeItem: (key: string) => void held.delete(key),
  };
};
const tick = (key: string, meal_id = 'm'): Command =>
  ({ method: 'meal.complete', key, meal_id, date: '2026-01-01', status: 'eaten' });
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

function outbox(send: (method: Method, data: MealCommand) => Promise<unknown>, storage = memory()) {
  const refused: string[] = [];
  const box = new Outbox({
    storage, key: 'o', send: send as never, onChange: () => {}, onRefused: (_, message) => refused.push(message),
  });
  return { box, refused, storage };
}

describe('Outbox', () => {
  it('keeps a command across a failure and a reload, and retries it with the same key', async () => {
    const storage = memory();
    const offline = outbox(() => Promise.reject({ code: 1, message: 'timeout' }), storage);
    offline.box.add(tick('k1'));
    await settle();
    offline.box.stop();
    expect(offline.box.waiting).toHaveLength(1);

    const sent: string[] = [];
    const online = outbox(async (_, data) => { sent.push(data.key); return { progress: {} }; }, storage);
    await online.box.flush();
    expect(sent).toEqual(['k1']);
    expect(online.box.waiting).toEqual([]);
    expect(online.box.pending).toMatchObject([{ key: 'k1', done: {} }]);
    online.box.settle(() => true);
    expect(online.box.pending).toEqual([]);
  });

  it('drops a permanently refused command, reports the reason, and sends the next one', async () => {
    const { box, refused } = outbox(async (_, data) => {
      if (data.key === 'k1') throw { code: 1435, message: 'not on that day' };
      return { progress: {} };
    });
    box.add(tick('k1', 'm1'));
    box.add(tick('k2', 'm2'));
    await settle();
    expect(refused).toEqual(['not on that day']);
    expect(box.waiting).toEqual([]);
  });

  it('replaces an unsent command for the same meal, but never one that is being sent', async () => {
    let answer: (value: unknown) => void = () => {};
    const sent: string[] = [];
    const { box } = outbox((_, data) => { sent.push(data.key); return new Promise((resolve) => { answer = resolve; }); });
    box.add(tick('k1'));
    box.add({ ...tick('k2'), status: 'skipped' });
    box.add({ ...tick('k3'), method: 'meal.undo', status: undefined });
    expect(box.waiting.map((command) => command.key)).toEqual(['k1', 'k3']);
    answer({ progress: {} });
    await settle();
    expect(sent).toEqual(['k1', 'k3']);
  });
});
