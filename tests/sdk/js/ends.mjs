// Several kinds of revocation, each with its own client: it stays, stops for good, or reconnects once and stays.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, until, yourTurn } from './kit.mjs';

async function open({ name, address, email, roster, member, expected, renews }) {
  const person = await Person.signedIn(email);
  const at = { name, expected, refreshes: 0 };
  const getToken = () => {
    at.refreshes += 1;
    return person.refresh();
  };
  at.phone = client({ address, token: person.token, ...(renews ? { getToken } : {}) });
  at.own = heard(at.phone);
  at.channels = [roster, member].filter(Boolean).map((channel) => {
    const subscription = at.phone.newSubscription(channel);
    const log = heard(subscription);
    subscription.subscribe();
    return log;
  });
  at.phone.connect();
  await until(`${name} watches`, () => at.own.connected.length === 1 && at.channels.every((log) => log.subscribed.length === 1));
  return at;
}

const all = await Promise.all(given.cases.map(open));
await yourTurn('all watch');
for (const { name, expected, own, channels } of all) {
  if (expected === 'stays') await until(`${name}: the end of the channel`, () => channels[1].unsubscribed.length === 1);
  if (expected === 'returns') await until(`${name}: a second connection`, () => own.connected.length === 2 && channels[0].subscribed.length === 2);
  if (expected === 'stops') await until(`${name}: the end`, () => own.disconnected.length === 1);
}
await yourTurn('all have ended');
for (const { name, expected, channels } of all) {
  if (expected !== 'stops') await until(`${name}: news`, () => channels[0].publication.length >= 1);
}
// Gives a client that keeps reconnecting the time to show it.
await new Promise((resolve) => setTimeout(resolve, 1500));
for (const { name, expected, own, channels, phone, refreshes } of all) {
  const said = JSON.stringify([name, own.connecting, own.disconnected, own.error.map((e) => e.error)]);
  if (expected === 'stays') {
    assert.deepEqual([own.connected.length, own.disconnected.length, refreshes], [1, 0, 0], said);
    assert.equal(channels[1].unsubscribed[0].code, 2000, said);
    assert.equal(channels[0].unsubscribed.length, 0, said);
  } else if (expected === 'returns') {
    assert.deepEqual([own.connected.length, own.disconnected.length, refreshes], [2, 0, 1], said);
    assert.equal(own.connecting[1].code, 3014, said);
    assert.equal(phone.state, 'connected', said);
  } else {
    assert.deepEqual([own.connected.length, refreshes, phone.state], [1, 0, 'disconnected'], said);
  }
}
await yourTurn('all are at rest');
// A client that connects again after the end is refused again, once.
const stopped = all.filter(({ expected }) => expected === 'stops');
for (const { phone } of stopped) phone.connect();
for (const { name, own } of stopped) await until(`${name}: a second end`, () => own.disconnected.length === 2);
await new Promise((resolve) => setTimeout(resolve, 1500));
for (const { name, own, phone } of stopped) assert.deepEqual([own.connected.length, phone.state], [1, 'disconnected'], name);
await yourTurn('all were told again');
passed();
