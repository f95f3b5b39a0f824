import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type FeedEvent, ProblemError } from '@headroom/client';
import { client, SERVICE_URL } from './support/fixtures.ts';

// A stream that breaks where the test says: the service itself ends one after minutes only.
async function feed(...connections: ((response: ServerResponse) => void)[]) {
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    const answer = connections[asked.length];
    asked.push(`${request.url} ${request.headers['last-event-id'] ?? ''}`);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    answer?.(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${port}`, asked, [Symbol.asyncDispose]: close };
}

async function take(events: AsyncIterable<FeedEvent>, count: number): Promise<FeedEvent[]> {
  const taken: FeedEvent[] = [];
  for await (const event of events) {
    if (taken.push(event) === count) break;
  }
  return taken;
}

const event = (id: string, subject: string) =>
  `id: ${id}\nevent: quota-consumed\ndata: {"specversion":"1.0","subject":"${subject}"}\n\n`;

test('events are read, and a broken stream goes on behind the last one', async () => {
  await using server = await feed(
    (response) => {
      response.write(`retry: 1000\n\n${event('1.0', 'user:a')}${event('1.1', 'user:b').slice(0, 30)}`);
      response.socket?.end();
    },
    (response) => void response.write(`id: 2.0\n\n:\n\n${event('2.1', 'user:ü')}`),
  );

  const events = client({ url: server.url }).follow({ subject: 'org:acme', types: ['quota-consumed'] });
  const [first, second] = await take(events, 2);

  assert.deepEqual([first?.id, first?.type, first?.data.subject], ['1.0', 'quota-consumed', 'user:a']);
  assert.deepEqual([second?.id, second?.data.subject], ['2.1', 'user:ü']);
  const target = '/v1/stream?subject=org%3Aacme&types=quota-consumed';
  assert.deepEqual(server.asked, [`${target} `, `${target} 1.0`]);
});

test('an id without an event moves the place to go on from', async () => {
  await using server = await feed(
    (response) => void response.end('retry: 1000\n\nid: 7.0\n\n'),
    (response) => void response.write(event('7.1', 'user:a')),
  );

  await take(client({ url: server.url }).follow({ lastEventId: '6.0' }), 1);

  assert.deepEqual(server.asked, ['/v1/stream 6.0', '/v1/stream 7.0']);
});

test('a stream that is refused ends with the problem', async () => {
  const events = client({ url: SERVICE_URL, apiKey: 'hr_live_wrong' }).follow();

  await assert.rejects(take(events, 1), ProblemError);
});

test('a signal ends a stream', async () => {
  await using server = await feed((response) => void response.write('retry: 1000\n\n'));
  const stop = new AbortController();

  const read = take(client({ url: server.url }).follow({ signal: stop.signal }), 1);
  stop.abort(new Error('enough'));

  await assert.rejects(read, /enough/);
});
