import type { Request, RequestHandler } from 'express';
import { type GuardOptions, guard, type Quota, type RouteOptions } from './guard.js';
import { callerKey, type RequestFacts } from './keys.js';

export type { GuardOptions, Quota, RouteOptions } from './guard.js';

declare global {
  namespace Express {
    interface Request {
      /** Set by `quotaCheck`. */
      quota?: Quota;
    }
  }
}

/**
 * Charges a request before the handlers behind it run, and answers it with `application/problem+json` when it may not
 * go on. Put it behind the body parser: content that is not parsed cannot tell a double click from a second message,
 * and is charged each time.
 */
export function quotaCheck(options: GuardOptions<Request> & RouteOptions<Request>): RequestHandler {
  return async (req, res, next) => {
    try {
      const { quota, denial } = await guard(options, () => req, factsOf(req));
      if (denial) {
        res.status(denial.status).set(denial.headers).send(JSON.stringify(denial.problem));
        return;
      }
      req.quota = quota;
      res.set(quota.headers);
    } catch (error) {
      return next(error);
    }
    next();
  };
}

function factsOf(req: Request): RequestFacts {
  return {
    method: req.method,
    target: req.originalUrl,
    callerKey: callerKey((name) => req.get(name)),
    length: req.get('content-length') ?? null,
    body: async () => contentOf(req),
  };
}

function contentOf(req: Request): Uint8Array | string | null | 'unread' {
  const parsed: unknown = req.body;
  const isSent = req.get('transfer-encoding') !== undefined || Number(req.get('content-length') ?? 0) > 0;
  if (!isSent) return null;
  if (parsed === undefined) return 'unread';
  if (typeof parsed === 'string' || parsed instanceof Uint8Array) return parsed;
  return JSON.stringify(parsed);
}
