// A network that fails as told: it sits between a client and the real service.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SERVICE_URL } from './fixtures.ts';

/** What becomes of one request. */
export type Fate =
  /** The service does its work, and the connection breaks before the reply is through. */
  | 'swallow the reply'
  /** The service does its work, and the reply never comes. */
  | 'hold the reply'
  /** The service is never asked. */
  | { status: number; retryAfter?: string }
  | 'pass';

export interface Proxy {
  url: string;
  /** The idempotency keys of the requests that came, in order. */
  keys: (string | undefined)[];
  [Symbol.asyncDispose]: () => Promise<void>;
}

/** Gives each request the next fate; the last one is for all that follow. */
export async function proxy(...fates: Fate[]): Promise<Proxy> {
  const keys: (string | undefined)[] = [];
  const server = createServer(async (request, response) => {
    const fate = fates[Math.min(keys.length, fates.length - 1)] ?? 'pass';
    keys.push(request.headers['idempotency-key'] as string | undefined);
    await carry(fate, request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${port}`, keys, [Symbol.asyncDispose]: close };
}

async function carry(fate: Fate, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks = await request.toArray();
  if (typeof fate === 'object') {
    response.writeHead(fate.status, fate.retryAfter ? { 'retry-after': fate.retryAfter } : {}).end('away');
    return;
  }
  const { host: _, connection: __, 'content-length': ___, ...headers } = request.headers;
  const reply = await fetch(SERVICE_URL + request.url, {
    method: request.method ?? 'GET',
    headers: headers as Record<string, string>,
    body: chunks.length === 0 ? null : Buffer.concat(chunks),
  });
  const body = await reply.text();
  if (fate === 'swallow the reply') response.destroy();
  if (fate === 'pass') response.writeHead(reply.status, Object.fromEntries(reply.headers)).end(body);
}
