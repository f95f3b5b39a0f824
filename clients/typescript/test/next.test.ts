import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { quotaChecks, withQuotaCheck } from '@headroom/client/next';
import { client, counts, eventually, newSubject, SERVICE_KEY, SERVICE_URL } from './support/fixtures.ts';

// Next.js itself, with the routes of test/next-app.
const folder = new URL('next-app', import.meta.url).pathname;
const next = new URL('../node_modules/next/dist/bin/next', import.meta.url).pathname;
let stop = async () => {};
let url = '';

before(async () => {
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const server = spawn(
    process.execPath,
    [next, 'dev', folder, '--port', String(port), '--hostname', '127.0.0.1'],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...process.env,
        HEADROOM_URL: SERVICE_URL,
        HEADROOM_API_KEY: SERVICE_KEY,
        NEXT_TELEMETRY_DISABLED: '1',
      },
    },
  );
  stop = async () => {
    server.kill('SIGTERM');
    await once(server, 'exit');
  };
  // The runner ends a file that takes too long; Next.js must not stay behind.
  process.once('SIGTERM', () => stop().finally(() => process.exit(1)));
  // Asks for a route that the tests need compiled anyway.
  await eventually('Next.js answers', () =>
    fetch(`${url}/api/node/boats`).then(
      () => true,
      () => false,
    ),
  );
});

after(() => stop());

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function post(path: string, subject: string, body: object, key?: string): Promise<Response> {
  const headers = {
    cookie: `user=${subject}`,
    'content-type': 'application/json',
    ...(key && { 'x-idempotency-key': key }),
  };
  return fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
}

for (const runtime of ['node', 'edge']) {
  test(`Next.js (${runtime}): a handler finds the quota in its context, beside its parameters`, async () => {
    const subject = newSubject();

    const reply = await post(`/api/${runtime}/boats`, subject, { prompt: 'a boat' });

    assert.equal(reply.status, 200);
    assert.deepEqual(await reply.json(), { remaining: 2, prompt: 'a boat', kind: 'boats' });
    assert.match(reply.headers.get('ratelimit') ?? '', /r=2;/);
    assert.equal((await counts(subject, 'ai_generations')).used, 1);
  });

  test(`Next.js (${runtime}): what is above the limit gets a problem`, async () => {
    const subject = newSubject();
    for (const prompt of ['a', 'b', 'c']) await post(`/api/${runtime}/boats`, subject, { prompt });

    const reply = await post(`/api/${runtime}/boats`, subject, { prompt: 'd' });

    assert.equal(reply.status, 429);
    assert.equal(reply.headers.get('content-type'), 'application/problem+json');
    assert.equal((await reply.json()).upgrade_url, 'https://app.example/upgrade');
  });

  test(`Next.js (${runtime}): the same key is charged once`, async () => {
    const subject = newSubject();

    await post(`/api/${runtime}/boats`, subject, { prompt: 'a boat' }, 'click-1');
    await post(`/api/${runtime}/boats`, subject, { prompt: 'a boat' }, 'click-1');

    assert.equal((await counts(subject, 'ai_generations')).used, 1);
  });
}

test('a handler that streams is handed on as it is', async () => {
  const options = {
    headroom: client(),
    subject: () => newSubject(),
    whenAway: 'closed',
    metric: 'messages',
  } as const;
  const GET = withQuotaCheck(() => new Response(new Blob(['streamed']).stream()), options);

  const reply = await GET(new Request('http://app.example/'), undefined);

  assert.equal(await reply.text(), 'streamed');
});

test('what all routes have in common is said once, and one route may choose otherwise', async () => {
  const subject = newSubject();
  const withQuota = quotaChecks({ headroom: client(), subject: () => subject, whenAway: 'closed' });
  const handler = () => new Response('done');
  const request = () => new Request('http://app.example/', { method: 'POST', body: 'same' });
  const once = withQuota(handler, { metric: 'messages', windowMs: 86_400_000 });
  const each = withQuota(handler, { metric: 'messages', windowMs: 0 });

  for (const route of [once, once, each, each]) await route(request(), undefined);

  assert.equal((await counts(subject, 'messages')).used, 3);
});

test('the functions of the options may read the body, which stays for the handler', async () => {
  const POST = withQuotaCheck(async (request) => Response.json(await request.json()), {
    headroom: client(),
    subject: async (request) => (await request.json()).user,
    model: async (request) => (await request.json()).model,
    whenAway: 'closed',
  });
  const body = { user: newSubject(), model: 'claude-sonnet-4' };

  const reply = await POST(
    new Request('http://app.example/', { method: 'POST', body: JSON.stringify(body) }),
    undefined,
  );

  assert.deepEqual(await reply.json(), body);
  assert.equal((await counts(body.user, 'messages')).used, 1);
});
