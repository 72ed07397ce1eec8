// Channels without subscribers and an anonymous client: the SDK must hand the app complete values.
import assert from 'node:assert/strict';
import { client, passed, until } from './kit.mjs';

const anyone = client({});
anyone.connect();
await anyone.ready(5000);
assert.deepEqual(await anyone.presenceStats('empty'), { numClients: 0, numUsers: 0 });
assert.deepEqual(await anyone.presence('empty'), { clients: {} });
const { publications, offset, epoch } = await anyone.history('empty', { limit: 10 });
assert.deepEqual([publications, offset, typeof epoch], [[], 0, 'string']);

const room = anyone.newSubscription('room');
const joined = [];
room.on('join', (ctx) => joined.push(ctx.info));
room.subscribe();
await until('its own join', () => joined.length === 1);
assert.equal(joined[0].user, '');
assert.deepEqual(await room.presenceStats(), { numClients: 1, numUsers: 1 });
const [[id, info]] = Object.entries((await room.presence()).clients);
assert.deepEqual(info, { client: id, user: '' });
passed();
