// A token that expires while connected, and one that had expired before the connect.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, titleOf, until } from './kit.mjs';

const [member, author] = [await Person.signedIn(given.member.email), await Person.signedIn(given.author.email)];
let refreshes = 0;
const getToken = () => {
  refreshes += 1;
  return member.refresh();
};

const phone = client({ token: member.token, getToken });
const own = heard(phone);
const subscription = phone.newSubscription(`plan:${given.plan.id}`);
const plan = heard(subscription);
subscription.subscribe();
phone.connect();
await until('three more tokens', () => refreshes >= 3);
await author.refresh();
await author.retitle('after three tokens');
await until('the change', () => plan.publication.length === 1);
assert.equal(titleOf(plan.publication[0]), 'after three tokens');
assert.equal((await phone.rpc('meal.complete', { meal_id: given.plan.meal, date: given.date, status: 'eaten' })).data.completion.status, 'eaten');
assert.deepEqual([own.connecting.length, own.connected.length, own.disconnected, own.error], [1, 1, [], []]);
assert.deepEqual([own.subscribed.length, plan.subscribed.length, plan.subscribing.length], [1, 1, 1]);
phone.disconnect();

refreshes = 0;
const late = client({ token: given.expired, getToken });
const log = heard(late);
late.connect();
await until('a connection', () => log.connected.length === 1);
assert.deepEqual(log.error.map(({ error }) => error.code), [109]);
assert.equal(refreshes, 1);
assert.deepEqual(log.disconnected, []);
passed();
