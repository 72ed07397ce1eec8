// Channels and commands that this member has no right to; the connection survives every refusal.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, until } from './kit.mjs';

const member = await Person.signedIn(given.member.email);
const phone = client({ token: member.token });
const own = heard(phone);
phone.connect();
await until('a connection', () => own.connected.length === 1 && own.subscribed.length === 1);

async function refusal(channel) {
  const subscription = phone.newSubscription(channel);
  const log = heard(subscription);
  subscription.subscribe();
  await until(`an answer for ${channel}`, () => log.unsubscribed.length + log.subscribed.length === 1);
  assert.deepEqual(log.subscribed, [], channel);
  phone.removeSubscription(subscription);
  return [log.unsubscribed[0].code, log.unsubscribed[0].reason];
}

for (const { channel, code } of given.refused) assert.equal((await refusal(channel))[0], code, channel);
for (const [foreign, missing] of given.indistinguishable) {
  assert.deepEqual(await refusal(foreign), await refusal(missing), foreign);
}

const code = (expected) => (error) => (assert.equal(error.code, expected, error.message), true);
await assert.rejects(phone.publish(`plan:${given.plan.id}`, { patch: {} }), code(103));
await assert.rejects(phone.publish(`member:${given.member.account}`, { patch: {} }), code(103));
await assert.rejects(phone.rpc('meal.delete', {}), code(104));
await assert.rejects(phone.presence(`plan:${given.plan.id}`), code(108));

const allowed = phone.newSubscription(`plan:${given.plan.id}`);
const plan = heard(allowed);
allowed.subscribe();
await until('the own plan', () => plan.subscribed.length === 1);
assert.deepEqual([own.connected.length, own.disconnected, own.publication], [1, [], []]);

const stranger = client({ token: `${member.token.slice(0, -8)}AAAAAAAA` });
const log = heard(stranger);
stranger.connect();
await until('the end of a forged token', () => log.disconnected.length === 1);
assert.equal(log.disconnected[0].code, 3500);
passed();
