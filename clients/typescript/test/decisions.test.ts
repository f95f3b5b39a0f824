import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ConflictError,
  ForbiddenError,
  InvalidRequestError,
  NotFoundError,
  type ProblemError,
  remainingOf,
  type schemas,
  UnauthenticatedError,
} from '@headroom/client';
import { client, counts, newSubject, SERVICE_KEY } from './support/fixtures.ts';

const headroom = client();

test('a consume is charged and says what is left', async () => {
  const decision = await headroom.consume({ subject: newSubject(), metric: 'messages', amount: 7 });

  assert.ok(decision.allowed && decision.event_id);
  assert.equal(remainingOf(decision.limits), 93);
  assert.match(decision.headers.RateLimit ?? '', /^"messages-month";r=93;t=\d+$/);
  assert.match(decision.headers['RateLimit-Policy'] ?? '', /^"messages-month";q=100;w=\d+$/);
});

test('a refusal is an answer: it says why, for how long, and where there is more', async () => {
  const subject = newSubject();

  const decision = await headroom.consume({ subject, metric: 'ai_generations', amount: 4 });

  assert.ok(!decision.allowed);
  assert.equal(decision.code, 'limit_exceeded');
  assert.deepEqual(decision.violated, ['ai_generations-month']);
  assert.equal(decision.upgrade_url, 'https://app.example/upgrade');
  assert.ok((decision.retryAfterS ?? 0) > 0);
  assert.equal(decision.limits[0]?.remaining, 3);
  assert.equal((await counts(subject, 'ai_generations')).used, 0);
});

test('a check charges nothing', async () => {
  const subject = newSubject();

  const fits = await headroom.check({ subject, model: 'claude-sonnet-4', amount: 100 });
  const doesNot = await headroom.check({ subject, model: 'claude-sonnet-4', amount: 101 });

  assert.deepEqual([fits.allowed, doesNot.allowed], [true, false]);
  assert.equal((await counts(subject, 'messages')).used, 0);
});

test('the same key is charged once and says so', async () => {
  const order = { subject: newSubject(), metric: 'messages' };
  const options = { idempotencyKey: 'message-1' };

  const first = await headroom.consume(order, options);
  const second = await headroom.consume(order, options);

  assert.deepEqual([first.replayed, second.replayed], [false, true]);
  assert.equal(first.event_id, second.event_id);
  assert.equal((await counts(order.subject, 'messages')).used, 1);
});

test('a refund gives back what an event took, once', async () => {
  const subject = newSubject();
  const { event_id } = await headroom.consume({ subject, metric: 'messages', amount: 5 });
  assert.ok(event_id);

  await headroom.refund(event_id);
  await headroom.refund(event_id);

  assert.equal((await counts(subject, 'messages')).used, 0);
});

test('units are held, extended, committed and released', async () => {
  const subject = newSubject();
  const first = await headroom.reserve({ subject, metric: 'tokens', amount: 600, ttl_s: 30 });
  const second = await headroom.reserve({ subject, metric: 'tokens', amount: 50 });
  assert.ok(first.allowed && second.allowed);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 650 });

  const extended = await headroom.extend(first.reservation_id, { ttl_s: 60 });
  const committed = await headroom.commit(first.reservation_id, { amount: 420 });
  await headroom.release(second.reservation_id);

  assert.ok((extended.expires_at ?? '') > first.expires_at);
  assert.deepEqual([committed.amount, committed.returned], [420, 180]);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 420, reserved: 0 });
});

test('problems are errors of their kind, with the code of the service', async () => {
  const subject = newSubject();
  const held = await headroom.reserve({ subject, metric: 'tokens', amount: 1 });
  assert.ok(held.allowed);
  await headroom.commit(held.reservation_id, { amount: 1 });
  await headroom.consume({ subject, metric: 'messages' }, { idempotencyKey: 'used' });
  const other = { subject, metric: 'messages', amount: 2 };

  const problems: [() => Promise<unknown>, new (...args: never[]) => ProblemError, string][] = [
    [() => headroom.consume({ subject, metric: 'no_such' }), NotFoundError, 'unknown_metric'],
    [() => headroom.consume({ model: 'claude-opus-4' }), ForbiddenError, 'model_not_allowed'],
    [() => headroom.check({ subject, feature: 'export' }), ForbiddenError, 'feature_not_entitled'],
    [
      () => headroom.consume({ subject, metric: 'messages', amount: -1 }),
      InvalidRequestError,
      'invalid_request',
    ],
    [() => headroom.consume(other, { idempotencyKey: 'used' }), InvalidRequestError, 'idempotency_mismatch'],
    [
      () => headroom.commit(held.reservation_id, { amount: 2 }),
      ConflictError,
      'reservation_already_committed',
    ],
    [() => client({ apiKey: 'hr_live_wrong' }).usage(subject), UnauthenticatedError, 'unauthenticated'],
    [() => headroom.grant(subject, { metric: 'messages', amount: 1 }), ForbiddenError, 'permission_denied'],
  ];

  for (const [request, kind, code] of problems) {
    await assert.rejects(request, (error) => error instanceof kind && error.code === code, code);
  }
});

test('every route of the document can be called, with its types', async () => {
  const subject = `org:${crypto.randomUUID()}/user:mail+a@example.org`;
  await headroom.consume({ subject, metric: 'messages' });

  const usage: schemas.Usage = await headroom.request('GET', '/v1/subjects/{subject}/usage', {
    path: { subject },
    query: { metric: 'messages', period: 'month' },
  });
  const models: schemas.Models = await headroom.request('GET', '/v1/models', {});
  // @ts-expect-error the route has no such method
  const wrong = headroom.request('DELETE', '/v1/models', {});

  assert.equal(usage.subject, subject);
  assert.equal(usage.limits[0]?.used, 1);
  assert.ok(models.models.length > 0);
  await assert.rejects(wrong, { code: 'method_not_allowed' });
});

test('a key that comes from a function is asked for each request', async () => {
  const keys = ['hr_live_old', SERVICE_KEY];
  const rotating = client({ apiKey: async () => keys.shift() ?? '' });

  await assert.rejects(rotating.usage(newSubject()), UnauthenticatedError);
  const usage = await rotating.usage(newSubject());

  assert.equal(usage.limits.length, 3);
});
