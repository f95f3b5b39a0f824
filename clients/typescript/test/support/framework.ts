// What holds for every framework alike.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Headroom } from '@headroom/client';
import { client, clientOfNobody, counts, newSubject } from './fixtures.ts';

export interface Shared {
  headroom: Headroom;
  whenAway: 'open' | 'closed';
  onRepeat?: 'run' | 'refuse';
  windowMs?: number;
}

export interface App {
  url: string;
  [Symbol.asyncDispose]: () => Promise<void>;
}

/**
 * The apps have `/generate` (any method, metric `ai_generations`: 3 a month), `/chat` (the model of the body) and
 * `/wrong` (a metric that does not exist), and take the subject from `X-User`.
 */
export function everyFramework(name: string, serve: (shared: Shared) => Promise<App>): void {
  const closed = (more: Partial<Shared> = {}) => serve({ headroom: client(), whenAway: 'closed', ...more });
  const charged = async (subject: string) => (await counts(subject, 'ai_generations')).used;

  test(`${name}: a handler finds the quota, and its answer tells the limits`, async () => {
    await using app = await closed();
    const reply = await send(app, '/generate', { subject: newSubject(), body: { prompt: 'a boat' } });

    assert.equal(reply.status, 200);
    assert.deepEqual(await reply.json(), { remaining: 2, body: { prompt: 'a boat' }, degraded: false });
    assert.match(reply.headers.get('ratelimit') ?? '', /^"ai_generations-month";r=2;/);
  });

  test(`${name}: what is above the limit gets a problem with all that the caller needs`, async () => {
    await using app = await closed();
    const subject = newSubject();
    for (const prompt of ['a', 'b', 'c']) await send(app, '/generate', { subject, body: { prompt } });

    const reply = await send(app, '/generate', { subject, body: { prompt: 'd' } });
    const problem = await reply.json();

    assert.equal(reply.status, 429);
    assert.equal(reply.headers.get('content-type')?.split(';')[0], 'application/problem+json');
    assert.ok(Number(reply.headers.get('retry-after')) > 0);
    assert.equal(problem.upgrade_url, 'https://app.example/upgrade');
    assert.deepEqual(
      [problem.code, problem.instance, problem.limits[0].remaining],
      ['limit_exceeded', '/generate', 0],
    );
    assert.equal(await charged(subject), 3);
  });

  test(`${name}: a model that is not open to the caller gets a 403`, async () => {
    await using app = await closed();

    const open = await send(app, '/chat', { body: { model: 'gemini-2.0-flash' } });
    const other = await send(app, '/chat', { body: { model: 'claude-sonnet-4' } });

    assert.equal(open.status, 200);
    assert.equal(other.status, 403);
    assert.equal((await other.json()).code, 'model_not_allowed');
  });

  test(`${name}: a POST that is sent twice within a window is charged once, other content is not`, async () => {
    await using app = await closed({ windowMs: 86_400_000 });
    const subject = newSubject();

    await send(app, '/generate', { subject, body: { prompt: 'a boat' } });
    await send(app, '/generate', { subject, body: { prompt: 'a boat' } });
    assert.equal(await charged(subject), 1);
    await send(app, '/generate', { subject, body: { prompt: 'a ship' } });
    await send(app, '/generate', { subject, method: 'PUT', body: { prompt: 'a boat' } });

    assert.equal(await charged(subject), 3);
  });

  test(`${name}: each GET and each DELETE is charged`, async () => {
    await using app = await closed();
    const subject = newSubject();

    await send(app, '/generate', { subject, method: 'GET' });
    await send(app, '/generate', { subject, method: 'GET' });
    await send(app, '/generate', { subject, method: 'DELETE' });

    assert.equal(await charged(subject), 3);
  });

  test(`${name}: a caller's own key is charged once for the same content, and is of no use to others`, async () => {
    await using app = await closed();
    const [subject, other] = [newSubject(), newSubject()];
    const same = { key: 'click-1', body: { prompt: 'a boat' } };

    for (const method of ['GET', 'GET', 'POST', 'POST']) {
      await send(app, '/generate', {
        subject,
        method,
        ...same,
        ...(method === 'GET' && { body: undefined }),
      });
    }
    assert.equal(await charged(subject), 2);
    await send(app, '/generate', { subject: other, ...same });
    await send(app, '/generate', { subject, key: 'click-1', body: { prompt: 'another' } });

    assert.deepEqual([await charged(subject), await charged(other)], [3, 1]);
  });

  test(`${name}: a request that was charged before can be refused`, async () => {
    await using app = await closed({ onRepeat: 'refuse' });
    const order = { subject: newSubject(), key: 'click-1', body: { prompt: 'a boat' } };

    const first = await send(app, '/generate', order);
    const second = await send(app, '/generate', order);

    assert.deepEqual([first.status, second.status], [200, 409]);
    assert.equal((await second.json()).code, 'request_repeated');
  });

  test(`${name}: while nobody can decide, a request passes uncounted or gets a 503, as was chosen`, async () => {
    const headroom = clientOfNobody();
    await using open = await serve({ headroom, whenAway: 'open' });
    await using shut = await serve({ headroom, whenAway: 'closed' });

    const passed = await send(open, '/generate', { subject: newSubject(), body: {} });
    const stopped = await send(shut, '/generate', { subject: newSubject(), body: {} });

    assert.equal(passed.status, 200);
    assert.deepEqual(await passed.json(), { remaining: null, body: {}, degraded: true });
    assert.equal(stopped.status, 503);
    assert.ok(stopped.headers.has('retry-after'));
    assert.match((await stopped.json()).type, /#temporary-reduced-capacity$/);
  });

  test(`${name}: the app's own mistake is not the caller's problem`, async () => {
    await using app = await closed();

    const reply = await send(app, '/wrong', { subject: newSubject(), body: {} });

    assert.equal(reply.status, 500);
  });
}

interface Sent {
  subject?: string;
  method?: string;
  key?: string;
  body?: object | undefined;
}

/** Sends what a browser would. */
export async function send(
  app: App,
  path: string,
  { subject, method = 'POST', key, body }: Sent,
): Promise<Response> {
  return await fetch(app.url + path, {
    method,
    headers: {
      ...(body && { 'content-type': 'application/json' }),
      ...(subject && { 'x-user': subject }),
      ...(key && { 'x-idempotency-key': key }),
    },
    body: body ? JSON.stringify(body) : null,
  });
}
