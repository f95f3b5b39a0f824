import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GuardOptions, quotaCheck } from '@headroom/client/fastify';
import fastify, { type FastifyRequest } from 'fastify';
import { client, counts, newSubject } from './support/fixtures.ts';
import { everyFramework, send } from './support/framework.ts';

/** An app as anyone would write it. */
async function serve(shared: Omit<GuardOptions<FastifyRequest>, 'subject'>) {
  const subject = (request: FastifyRequest) => [request.headers['x-user']].flat()[0] ?? null;
  const quota = { ...shared, subject };
  const app = fastify();
  const generate = quotaCheck({ ...quota, metric: 'ai_generations' });
  app.all('/generate', { preHandler: generate }, async ({ quota, body }) => {
    return { remaining: quota?.remaining, body: body ?? null, degraded: quota?.degraded };
  });
  const model = (request: FastifyRequest) => (request.body as { model: string }).model;
  app.post('/chat', { preHandler: quotaCheck({ ...quota, model }) }, async ({ quota }) => {
    return { remaining: quota?.remaining };
  });
  app.post('/wrong', { preHandler: quotaCheck({ ...quota, metric: 'no_such' }) }, async () => ({}));
  const schema = { body: { type: 'object', required: ['prompt'] } };
  app.post('/strict', { schema, preHandler: generate }, async () => ({}));
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return { url, [Symbol.asyncDispose]: () => app.close() };
}

everyFramework('Fastify', serve);

test('Fastify: what the schema refuses is not charged', async () => {
  await using app = await serve({ headroom: client(), whenAway: 'closed' });
  const subject = newSubject();

  const reply = await send(app, '/strict', { subject, body: {} });

  assert.equal(reply.status, 400);
  assert.equal((await counts(subject, 'ai_generations')).used, 0);
});
