import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnavailableError } from '@headroom/client';
import { client, clientOfNobody, counts, newSubject } from './support/fixtures.ts';
import { proxy } from './support/proxy.ts';

test('a consume whose reply is lost is sent again under the same key and charged once', async () => {
  await using network = await proxy('swallow the reply', 'swallow the reply', 'pass');
  const subject = newSubject();

  const decision = await client({ url: network.url }).consume({ subject, metric: 'messages' });

  assert.ok(decision.allowed && decision.replayed);
  assert.equal(network.keys.length, 3);
  assert.equal(new Set(network.keys).size, 1);
  assert.equal((await counts(subject, 'messages')).used, 1);
});

test('a reply that does not come in time is asked for again, and charged once', async () => {
  await using network = await proxy('hold the reply', 'pass');
  const subject = newSubject();

  const decision = await client({ url: network.url, timeoutMs: 1_000 }).consume({
    subject,
    metric: 'messages',
  });

  assert.ok(decision.allowed);
  assert.equal(network.keys.length, 2);
  assert.equal((await counts(subject, 'messages')).used, 1);
});

test('a reserve, a commit and a refund whose replies are lost happen once', async () => {
  await using network = await proxy(
    'swallow the reply',
    'pass',
    'swallow the reply',
    'pass',
    'swallow the reply',
    'pass',
  );
  const headroom = client({ url: network.url });
  const subject = newSubject();

  const held = await headroom.reserve({ subject, metric: 'tokens', amount: 100 });
  assert.ok(held.allowed);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 100 });
  const { event_id } = await headroom.commit(held.reservation_id, { amount: 60 });
  assert.deepEqual(await counts(subject, 'tokens'), { used: 60, reserved: 0 });
  await headroom.refund(event_id);

  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 0 });
});

test('a 503 is tried again when Retry-After has passed', async () => {
  await using network = await proxy({ status: 503, retryAfter: '1' }, 'pass');
  const begun = performance.now();

  const decision = await client({ url: network.url }).consume({ subject: newSubject(), metric: 'messages' });

  assert.ok(decision.allowed);
  assert.ok(performance.now() - begun >= 1_000);
});

test('a Retry-After beyond the deadline is not waited for, and is handed on', async () => {
  await using network = await proxy({ status: 503, retryAfter: '3600' });

  const request = client({ url: network.url }).consume({ subject: newSubject(), metric: 'messages' });

  await assert.rejects(request, (error) => error instanceof UnavailableError && error.retryAfterS === 3_600);
  assert.equal(network.keys.length, 1);
});

test('tries are bounded', async () => {
  await using network = await proxy('swallow the reply');

  const request = client({ url: network.url, maxAttempts: 4 }).consume({
    subject: newSubject(),
    metric: 'messages',
  });

  await assert.rejects(request, (error) => error instanceof UnavailableError && error.attempts === 4);
  assert.equal(network.keys.length, 4);
  assert.throws(() => client({ maxAttempts: 11 }), RangeError);
});

test('all tries together keep to the deadline', async () => {
  await using network = await proxy('hold the reply');
  const headroom = client({ url: network.url, timeoutMs: 300, deadlineMs: 500, maxAttempts: 10 });
  const begun = performance.now();

  const request = headroom.consume({ subject: newSubject(), metric: 'messages' });

  await assert.rejects(request, (error) => error instanceof UnavailableError && error.code === 'timed_out');
  assert.ok(performance.now() - begun < 1_500);
});

test('a refusal is not tried again', async () => {
  await using network = await proxy('pass');

  const order = { subject: newSubject(), metric: 'ai_generations', amount: 4 };
  const decision = await client({ url: network.url }).consume(order);

  assert.equal(decision.allowed, false);
  assert.equal(network.keys.length, 1);
});

test('a change that depends on what was read is not sent twice', async () => {
  await using network = await proxy('swallow the reply', 'pass');
  const change = { path: { subject: newSubject() }, body: { plan: 'free' } };

  const request = client({ url: network.url }).request('PUT', '/v1/subjects/{subject}', change, {
    ifMatch: '"0"',
  });

  await assert.rejects(request, UnavailableError);
  assert.equal(network.keys.length, 1);
});

test('a service that is not there is unreachable, and the caller can stop waiting', async () => {
  const order = { subject: newSubject(), metric: 'messages' };
  const stop = new AbortController();
  stop.abort(new Error('gone'));

  const nobody = clientOfNobody().consume(order);
  const stopped = client().consume(order, { signal: stop.signal });

  await assert.rejects(nobody, (error) => error instanceof UnavailableError && error.code === 'unreachable');
  await assert.rejects(stopped, /gone/);
});

test('an answer that is not the service’s is no decision, and the key follows no redirect', async () => {
  const page = client({ fetch: async () => new Response('<html>', { status: 200 }) });
  const moved = client({
    fetch: async (_, init) => {
      assert.equal(init?.redirect, 'manual');
      return new Response(null, { status: 302, headers: { location: 'https://elsewhere.example' } });
    },
  });

  for (const headroom of [page, moved]) {
    const request = headroom.consume({ subject: newSubject(), metric: 'messages' });
    await assert.rejects(
      request,
      (error) => error instanceof UnavailableError && error.code === 'bad_answer',
    );
  }
});
