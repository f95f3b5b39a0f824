import type { Context, Env, MiddlewareHandler } from 'hono';
import { type GuardOptions, guard, type Quota, type RouteOptions } from './guard.js';
import { factsOf } from './keys.js';
import { responseOf } from './respond.js';

export type { GuardOptions, Quota, RouteOptions } from './guard.js';

/** What the handlers behind `quotaCheck` find: `context.get('quota')`. */
export interface QuotaEnv {
  Variables: { quota: Quota };
}

/**
 * Charges a request before the handlers behind it run, and answers it with `application/problem+json` when it may not
 * go on.
 */
export function quotaCheck<E extends Env = Env>(
  options: GuardOptions<Context<E>> & RouteOptions<Context<E>>,
): MiddlewareHandler<E & QuotaEnv> {
  return async (context, next) => {
    const { raw } = context.req;
    const facts = factsOf(raw);
    // Hono keeps the bodies that were read through it.
    const body = raw.bodyUsed ? async () => new Uint8Array(await context.req.arrayBuffer()) : facts.body;
    const { quota, denial } = await guard(options, () => context as Context<E>, { ...facts, body });
    if (denial) return responseOf(denial);
    context.set('quota', quota);
    await next();
    // Not set on `res` itself: a response of @hono/node-server may be rebuilt without what was changed on it.
    for (const [name, value] of Object.entries(quota.headers)) {
      if (!context.res.headers.has(name)) context.header(name, value);
    }
    return undefined;
  };
}
