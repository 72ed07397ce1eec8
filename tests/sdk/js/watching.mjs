// Snapshots, a live change, and fifty changes while offline.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, titleOf, until } from './kit.mjs';

const [member, author] = [await Person.signedIn(given.member.email), await Person.signedIn(given.author.email)];
const phone = client({ token: member.token });
const own = heard(phone);
const subscription = phone.newSubscription(`plan:${given.plan.id}`);
const plan = heard(subscription);
subscription.subscribe();
phone.connect();

await until('both snapshots', () => own.subscribed.length === 1 && plan.subscribed.length === 1);
assert.equal(own.subscribed[0].channel, `member:${given.member.account}`);
assert.equal(own.subscribed[0].data.follow.plan_id, given.plan.id);
assert.deepEqual(own.subscribed[0].data.completions, {});
const [{ data, recoverable, positioned, wasRecovering }] = plan.subscribed;
assert.deepEqual([recoverable, positioned, wasRecovering], [true, true, false]);
assert.equal(data.plan.id, given.plan.id);
const [day] = Object.values(data.days);
assert.equal(day.meals[given.plan.meal].title, given.plan.title);

await author.retitle('live');
await until('the live change', () => plan.publication.length === 1);
assert.equal(plan.publication[0].data.type, 'meal.updated');
assert.equal(titleOf(plan.publication[0]), 'live');
assert.ok(plan.publication[0].offset > plan.subscribed[0].streamPosition.offset);

phone.disconnect();
await until('being offline', () => own.disconnected.length === 1);
for (let n = 1; n <= 50; n += 1) {
  await author.retitle(`n ${n}`);
  if (n === 25) await member.tick('eaten');
}
phone.connect();
await until('the missed publications', () => plan.publication.length >= 51 && own.publication.length >= 1);
await author.retitle('afterwards');
await until('a change after the recovery', () => plan.publication.length >= 52);

const recovered = plan.publication.slice(1);
const titles = Array.from({ length: 50 }, (_, n) => `n ${n + 1}`);
assert.deepEqual(recovered.map(titleOf), [...titles, 'afterwards']);
recovered.reduce((before, { offset }) => (assert.ok(offset > before, `${offset} after ${before}`), offset), plan.publication[0].offset);
assert.equal(plan.subscribed.length, 2);
assert.deepEqual([plan.subscribed[1].wasRecovering, plan.subscribed[1].recovered], [true, true]);
assert.equal(plan.subscribed[1].data, undefined);
assert.deepEqual([own.subscribed[1].wasRecovering, own.subscribed[1].recovered], [true, true]);
assert.deepEqual(own.publication.map(({ data }) => data.type), ['meal.completed']);
assert.deepEqual([own.error, plan.error, plan.unsubscribed], [[], [], []]);
passed();
