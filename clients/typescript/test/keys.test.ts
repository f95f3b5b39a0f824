import assert from 'node:assert/strict';
import { test } from 'node:test';
// Not a part of the package's surface: windows by the clock are looked at here, without waiting for one.
import { type Charge, type RequestFacts, requestKey } from '../src/keys.ts';

const POST: RequestFacts = {
  method: 'POST',
  target: '/generate?size=2',
  callerKey: null,
  length: '6',
  body: async () => 'a boat',
};
const CHARGE: Charge = { subject: 'user:u_1', what: 'metric ai_generations' };
const AT = 1_800_000_000_000;

const keyOf = (facts: Partial<RequestFacts>, charge = CHARGE, at = AT) =>
  requestKey({ ...POST, ...facts }, charge, 5_000, at);

test('a POST has one key within a window of five seconds, and another in the next', async () => {
  const key = await keyOf({});

  assert.equal(await keyOf({}, CHARGE, AT + 4_999), key);
  assert.notEqual(await keyOf({}, CHARGE, AT + 5_000), key);
  assert.match(key, /^[0-9a-f]{64}$/);
});

test('subject, metric, method, place and content all tell requests apart', async () => {
  const keys = await Promise.all([
    keyOf({}),
    keyOf({}, { ...CHARGE, subject: 'user:u_2' }),
    keyOf({}, { ...CHARGE, what: 'metric exports' }),
    keyOf({}, { ...CHARGE, what: 'model ai_generations' }),
    keyOf({ method: 'PUT' }),
    keyOf({ target: '/generate?size=3' }),
    keyOf({ body: async () => 'a ship' }),
    keyOf({ callerKey: 'click-1' }),
    keyOf({ callerKey: 'click-1' }, { ...CHARGE, what: 'metric exports' }),
    keyOf({ callerKey: 'click-1' }, { ...CHARGE, subject: 'user:u_2' }),
  ]);

  assert.equal(new Set(keys).size, keys.length);
});

test('a GET and a DELETE have a key of their own each, unless the caller gave one', async () => {
  for (const method of ['GET', 'DELETE']) {
    assert.notEqual(await keyOf({ method }), await keyOf({ method }));
    assert.equal(await keyOf({ method, callerKey: 'k' }), await keyOf({ method, callerKey: 'k' }));
  }
});

test('callers who have not signed in are not taken for one another', async () => {
  const nobody = { ...CHARGE, subject: null };

  assert.notEqual(await keyOf({}, nobody), await keyOf({}, nobody));
});

test('content that cannot be seen has a key of its own each time', async () => {
  const unread = { body: async () => 'unread' as const };

  assert.notEqual(await keyOf(unread), await keyOf(unread));
});

test('a window of nothing is none', async () => {
  assert.notEqual(await requestKey(POST, CHARGE, 0, AT), await requestKey(POST, CHARGE, 0, AT));
});
