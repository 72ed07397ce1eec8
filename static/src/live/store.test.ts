import { describe, expect, it } from 'vitest';
import type { Json } from './merge';
import { LiveStore, type Snapshot } from './store';

const event = (patch: Json, type = 'meal.updated') => ({ v: 1, type, id: 'e', at: '2026-01-01T00:00:00Z', patch });
const fresh = (channel: string, data: unknown, offset = 10, epoch = 'a') =>
  ({ channel, wasRecovering: false, recovered: false, streamPosition: { offset, epoch }, data });
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

function store(fetchSnapshot: (url: string) => Promise<Snapshot> = () => Promise.reject(new Error('no fetch expected'))) {
  return new LiveStore({ fetchSnapshot, pause: () => settle().then(() => undefined) });
}

describe('LiveStore', () => {
  it('starts from the snapshot, merges publications and drops those that it already has', () => {
    const live = store();
    live.subscribed(fresh('plan:1', { title: 'a', days: { d: { n: 1 } } }));
    live.publication({ channel: 'plan:1', offset: 10, data: event({ title: 'old' }) });
    live.publication({ channel: 'plan:1', offset: 14, data: event({ days: { d: { n: 2 } } }) });
    expect(live.get('plan:1')).toMatchObject({ state: { title: 'a', days: { d: { n: 2 } } }, offset: 14, live: true });
  });

  it('keeps its state after a recovery and replaces it otherwise', () => {
    const live = store();
    live.subscribed(fresh('c', { n: 1 }));
    live.lost('c');
    expect(live.get('c')?.live).toBe(false);
    live.subscribed({ channel: 'c', wasRecovering: true, recovered: true, streamPosition: { offset: 10, epoch: 'a' } });
    expect(live.get('c')).toMatchObject({ state: { n: 1 }, live: true });
    live.subscribed({ ...fresh('c', { n: 9 }, 40, 'b'), wasRecovering: true });
    expect(live.get('c')).toMatchObject({ state: { n: 9 }, offset: 40, epoch: 'b' });
  });

  it('keeps presence separate from the snapshot', () => {
    const live = store();
    live.subscribed(fresh('roster:1', { members: {}, online: { a: true } }));
    live.publication({ channel: 'roster:1', data: event({ online: { a: null, b: true } }, 'presence.changed') });
    expect(live.get('roster:1')).toMatchObject({ state: { members: {} }, online: { b: true }, offset: 10 });
    live.subscribed({ channel: 'roster:1', wasRecovering: true, recovered: true, data: { online: {} } });
    expect(live.get('roster:1')).toMatchObject({ state: { members: {} }, online: {} });
  });

  it('fetches a large snapshot, retries, and applies only later publications', async () => {
    const answers: (Snapshot | undefined)[] = [
      undefined,
      { epoch: 'a', offset: 8, snapshot: { n: 'before the subscription' } },
      { epoch: 'a', offset: 12, snapshot: { n: 12 } },
    ];
    const live = store(async () => {
      const answer = answers.shift();
      if (!answer) throw new Error('network');
      return answer;
    });
    live.subscribed(fresh('c', { fetch: true, url: '/x' }));
    live.publication({ channel: 'c', offset: 12, data: event({ n: 'in the snapshot already' }) });
    live.publication({ channel: 'c', offset: 13, data: event({ m: 13 }) });
    expect(live.get('c')?.state).toBeUndefined();
    for (let i = 0; i < 8; i += 1) await settle();
    expect(live.get('c')).toMatchObject({ state: { n: 12, m: 13 }, offset: 13 });
  });

  it('discards a fetch that a newer subscription has overtaken', async () => {
    let answer: (snapshot: Snapshot) => void = () => {};
    const live = store(() => new Promise((resolve) => { answer = resolve; }));
    live.subscribed(fresh('c', { fetch: true, url: '/x' }));
    live.subscribed(fresh('c', { n: 'new' }, 20));
    answer({ epoch: 'a', offset: 30, snapshot: { n: 'late' } });
    await settle();
    expect(live.get('c')?.state).toEqual({ n: 'new' });
  });

  it('tells listeners what changed', () => {
    const live = store();
    const seen: unknown[] = [];
    live.subscribed(fresh('c', { n: 1 }));
    live.listen((channel, entry, change) => seen.push([channel, entry.state, change.event?.type, change.before]));
    live.publication({ channel: 'c', offset: 11, data: event({ n: 2 }) });
    expect(seen).toEqual([['c', { n: 2 }, 'meal.updated', { n: 1 }]]);
  });
});
