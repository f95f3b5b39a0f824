import { type GuardOptions, guard, type Quota, type RouteOptions } from './guard.js';
import { factsOf } from './keys.js';
import { responseOf, withHeaders } from './respond.js';

export type { GuardOptions, Quota, RouteOptions } from './guard.js';

/** A route handler that runs only when the request may go on, and finds the quota in its context. */
export type GuardedHandler<R extends Request, C> = (
  request: R,
  context: C & { quota: Quota },
) => Response | Promise<Response>;

/** A route handler, as a `route.ts` exports it. */
export type RouteHandler<R extends Request, C> = (request: R, context: C) => Promise<Response>;

/**
 * Charges a request before the handler runs, and answers it with `application/problem+json` when it may not go on.
 *
 * ```ts
 * export const POST = withQuotaCheck(handler, { ...quota, metric: 'ai_generations' });
 * ```
 *
 * The functions of the options get a copy of the request: what they read of its body is still there for the handler.
 */
export function withQuotaCheck<R extends Request, C = unknown>(
  handler: GuardedHandler<R, C>,
  options: GuardOptions<R> & RouteOptions<R>,
): RouteHandler<R, C> {
  return async (request, context) => {
    const { quota, denial } = await guard(options, () => copyOf(request), factsOf(request));
    if (denial) return responseOf(denial);
    return withHeaders(await handler(request, Object.assign({}, context, { quota })), quota.headers);
  };
}

/** `withQuotaCheck` for all routes of an app: what they have in common is said once. */
export function quotaChecks<S extends Request = Request>(
  shared: GuardOptions<S>,
): <R extends S, C = unknown>(
  handler: GuardedHandler<R, C>,
  options: RouteOptions<R> & Partial<GuardOptions<R>>,
) => RouteHandler<R, C> {
  return (handler, options) => withQuotaCheck(handler, { ...shared, ...options });
}

/** What of a request reads its body. */
const READERS: readonly PropertyKey[] = [
  'arrayBuffer',
  'blob',
  'body',
  'bodyUsed',
  'bytes',
  'formData',
  'json',
  'text',
];

/**
 * The request, but for its body, which is a copy. A clone alone would not do: it is a plain `Request` without the
 * cookies and the rest that Next.js adds, and what its classes are made from differs from runtime to runtime.
 */
function copyOf<R extends Request>(request: R): R {
  let clone: Request | undefined;
  return new Proxy(request, {
    get(original, name) {
      if (READERS.includes(name)) clone ??= original.clone();
      const source = clone && READERS.includes(name) ? clone : original;
      const value: unknown = Reflect.get(source, name, source);
      return typeof value === 'function' ? value.bind(source) : value;
    },
  });
}
