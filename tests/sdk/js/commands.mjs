// Sends a command with an idempotency key more than once.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, until } from './kit.mjs';

const member = await Person.signedIn(given.member.email);
const phone = client({ token: member.token });
const own = heard(phone);
phone.connect();
await until('a connection', () => own.subscribed.length === 1);

const command = { key: 'tick', meal_id: given.plan.meal, date: given.date, status: 'eaten' };
const [{ data: first }, { data: twin }] = await Promise.all([
  phone.rpc('meal.complete', command),
  phone.rpc('meal.complete', command),
]);
assert.equal(first.completion.status, 'eaten');
assert.equal(first.progress.meals_done, 1);
assert.deepEqual(twin, first);
phone.disconnect();
phone.connect();
await until('a second connection', () => own.subscribed.length === 2);
assert.deepEqual((await phone.rpc('meal.complete', command)).data, first);
await assert.rejects(phone.rpc('meal.complete', { ...command, status: 'skipped' }), (error) => {
  assert.equal(error.code, 1423, error.message);
  return true;
});

const { data: undone } = await phone.rpc('meal.undo', { key: 'undo', meal_id: given.plan.meal, date: given.date });
assert.equal(undone.completion, undefined);
// The answer stored under a key does not change, and a repeat has no effect.
assert.deepEqual((await phone.rpc('meal.complete', command)).data, first);
await until('the undo', () => own.publication.length >= 2);
assert.deepEqual(own.publication.map(({ data }) => data.type), ['meal.completed', 'meal.undone']);
const today = await member.call('GET', '/follows/today');
assert.deepEqual(today.meals.map(({ status }) => status), ['open']);
passed();
