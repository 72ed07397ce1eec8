// The server stops and starts again at the same address.
import assert from 'node:assert/strict';
import { Person, client, given, heard, passed, titleOf, until, yourTurn } from './kit.mjs';

const [member, author] = [await Person.signedIn(given.member.email), await Person.signedIn(given.author.email)];
const phone = client({ token: member.token });
const own = heard(phone);
const subscription = phone.newSubscription(`plan:${given.plan.id}`);
const plan = heard(subscription);
subscription.subscribe();
phone.connect();
await until('both snapshots', () => own.subscribed.length === 1 && plan.subscribed.length === 1);

await yourTurn('restart');
await author.retitle('after the restart');
await until('the change', () => plan.publication.length >= 1);
assert.deepEqual(plan.publication.map(titleOf), ['after the restart']);
assert.ok(own.connecting.length >= 2 && own.connecting[1].code === 3001, JSON.stringify(own.connecting));
assert.deepEqual([plan.subscribed.length, plan.subscribed[1].recovered], [2, true]);
assert.deepEqual([own.subscribed.length, own.subscribed[1].recovered], [2, true]);
assert.deepEqual([own.disconnected, plan.unsubscribed, own.publication], [[], [], []]);
passed();
