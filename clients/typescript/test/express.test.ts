import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type GuardOptions, quotaCheck } from '@headroom/client/express';
import express, { type Request } from 'express';
import { client, clientOfNobody, counts, newSubject } from './support/fixtures.ts';
import { everyFramework } from './support/framework.ts';

/** An app as anyone would write it. */
async function serve(shared: Omit<GuardOptions<Request>, 'subject'>) {
  const quota = { ...shared, subject: (req: Request) => req.get('x-user') ?? null };
  const app = express();
  app.use(express.json());
  app.all('/generate', quotaCheck({ ...quota, metric: 'ai_generations' }), (req, res) => {
    res.json({ remaining: req.quota?.remaining, body: req.body ?? null, degraded: req.quota?.degraded });
  });
  app.post('/chat', quotaCheck({ ...quota, model: (req) => req.body.model }), (req, res) => {
    res.json({ remaining: req.quota?.remaining });
  });
  app.post('/wrong', quotaCheck({ ...quota, metric: 'no_such' }), (_, res) => void res.json({}));
  const server = app.listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async () => void server.close();
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: close };
}

everyFramework('Express', serve);

test('Express: content that was not parsed is charged each time', async () => {
  const app = express();
  const subject = newSubject();
  const options = {
    headroom: client(),
    subject: () => subject,
    whenAway: 'closed',
    metric: 'messages',
  } as const;
  app.post('/', quotaCheck(options), (_, res) => void res.end());
  const server = app.listen(0);
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  await fetch(url, { method: 'POST', body: 'one' });
  await fetch(url, { method: 'POST', body: 'two' });
  server.close();

  assert.equal((await counts(subject, 'messages')).used, 2);
});

test('Express: what was let through uncounted is reported', async () => {
  const headroom = clientOfNobody();
  await using app = await serve({ headroom, whenAway: 'open' });

  await fetch(`${app.url}/generate`, { method: 'POST' });

  assert.deepEqual(headroom.lost, ['a request passed uncounted']);
});
