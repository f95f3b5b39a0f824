import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type GuardOptions, type QuotaEnv, quotaCheck } from '@headroom/client/hono';
import { serve as listen } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { client, counts, newSubject } from './support/fixtures.ts';
import { everyFramework } from './support/framework.ts';

/** An app as anyone would write it. */
function appOf(shared: Omit<GuardOptions<Context>, 'subject'>) {
  const quota = { ...shared, subject: (context: Context) => context.req.header('x-user') ?? null };
  const app = new Hono<QuotaEnv>();
  app.all('/generate', quotaCheck({ ...quota, metric: 'ai_generations' }), async (context) => {
    const { remaining, degraded } = context.get('quota');
    const text = await context.req.text();
    return context.json({ remaining, body: text === '' ? null : JSON.parse(text), degraded });
  });
  const model = async (context: Context) => (await context.req.json()).model;
  app.post('/chat', quotaCheck({ ...quota, model }), (context) => {
    return context.json({ remaining: context.get('quota').remaining });
  });
  app.post('/wrong', quotaCheck({ ...quota, metric: 'no_such' }), (context) => context.json({}));
  app.get('/elsewhere', quotaCheck({ ...quota, metric: 'messages' }), () =>
    Response.redirect('https://a.example'),
  );
  return app;
}

async function serve(shared: Omit<GuardOptions<Context>, 'subject'>) {
  const server = listen({ fetch: appOf(shared).fetch, port: 0 });
  if (!server.listening) await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => void server.close() };
}

everyFramework('Hono', serve);

test('Hono: a response whose headers cannot be changed is handed on with the limits', async () => {
  const app = appOf({ headroom: client(), whenAway: 'closed' });
  const subject = newSubject();

  const reply = await app.request('/elsewhere', { headers: { 'x-user': subject } });

  assert.equal(reply.status, 302);
  assert.match(reply.headers.get('ratelimit') ?? '', /^"messages-month";r=99;/);
  assert.equal((await counts(subject, 'messages')).used, 1);
});
