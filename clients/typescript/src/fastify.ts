import type { FastifyRequest, preHandlerAsyncHookHandler } from 'fastify';
import { type GuardOptions, guard, type Quota, type RouteOptions } from './guard.js';
import { callerKey, type RequestFacts } from './keys.js';

export type { GuardOptions, Quota, RouteOptions } from './guard.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `quotaCheck`. */
    quota?: Quota;
  }
}

/**
 * A `preHandler`: charges a request before the handler runs, and answers it with `application/problem+json` when it may
 * not go on. By then the body is parsed and validated, so that nothing is charged for what would be refused anyway.
 */
export function quotaCheck(
  options: GuardOptions<FastifyRequest> & RouteOptions<FastifyRequest>,
): preHandlerAsyncHookHandler {
  return async (request, reply) => {
    const { quota, denial } = await guard(options, () => request, factsOf(request));
    if (denial) {
      return reply.code(denial.status).headers(denial.headers).send(JSON.stringify(denial.problem));
    }
    request.quota = quota;
    reply.headers(quota.headers);
  };
}

function factsOf(request: FastifyRequest): RequestFacts {
  const header = (name: string) => [request.headers[name]].flat()[0] ?? null;
  return {
    method: request.method,
    target: request.url,
    callerKey: callerKey(header),
    length: header('content-length'),
    body: async () => contentOf(request.body),
  };
}

function contentOf(body: unknown): Uint8Array | string | null | 'unread' {
  if (body === undefined || body === null) return null;
  if (typeof body === 'string' || body instanceof Uint8Array) return body;
  const isStream = typeof body === 'object' && 'pipe' in body;
  return isStream ? 'unread' : JSON.stringify(body);
}
