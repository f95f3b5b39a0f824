import type { components, LimitState, Problem, ProblemCode } from './openapi.js';
import { retryAfterS } from './retry.js';
import type { Reply } from './transport.js';

type Wire = components['schemas']['Decision'];

/** The `RateLimit` and `RateLimit-Policy` of an answer, by their names: to be handed on to whoever asked you. */
export type RateLimitHeaders = { [name in 'RateLimit' | 'RateLimit-Policy']?: string };

/** The request may go on. */
export type Accepted = Omit<Wire, 'allowed'> & {
  allowed: true;
  /** Whether it was decided, and charged, before, under the same idempotency key. */
  replayed: boolean;
  headers: RateLimitHeaders;
};

/** No units are left: nothing was charged. */
export type Refused = Omit<Wire, 'allowed'> & {
  allowed: false;
  replayed: false;
  code: ProblemCode;
  /** Names of the limits that leave no room. */
  violated: string[];
  /** When units come back, in seconds; `null` when nobody knows. */
  retryAfterS: number | null;
  /** The whole answer, as RFC 9457 wants it handed on. */
  problem: Problem;
  headers: RateLimitHeaders;
};

/** The answer to a consume or a check. */
export type Decision = Accepted | Refused;

/** What an accepted reserve adds. */
export interface Held {
  reservation_id: string;
  /** The amount that is held. */
  amount: number;
  expires_at: string;
}

/** The answer to a reserve. */
export type ReserveDecision = (Accepted & Held) | Refused;

/** Reads the answer to a decision, 200 and 429 alike. */
export function decisionOf(reply: Reply): Decision {
  const headers = rateLimitHeaders(reply.headers);
  if (reply.status === 429) return refusalOf(reply.body as Problem, reply, headers);
  const replayed = reply.headers.get('idempotent-replayed') === 'true';
  return { ...(reply.body as Wire), allowed: true, replayed, headers };
}

function refusalOf(problem: Problem, reply: Reply, headers: RateLimitHeaders): Refused {
  return {
    allowed: false,
    event_id: null,
    limits: problem.limits ?? [],
    degraded: problem.degraded ?? false,
    request_id: problem.request_id,
    ...(problem.plan != null && { plan: problem.plan }),
    ...(problem.upgrade_url != null && { upgrade_url: problem.upgrade_url }),
    ...(problem.recommended_plan != null && { recommended_plan: problem.recommended_plan }),
    replayed: false,
    code: problem.code,
    violated: problem['violated-policies'] ?? [],
    retryAfterS: retryAfterS(reply.headers),
    problem,
    headers,
  };
}

function rateLimitHeaders(headers: Headers): RateLimitHeaders {
  const limit = headers.get('ratelimit');
  const policy = headers.get('ratelimit-policy');
  return { ...(limit && { RateLimit: limit }), ...(policy && { 'RateLimit-Policy': policy }) };
}

/**
 * The least units that are left over all limits, grants included: `Infinity` when nothing bounds them.
 * Shadow limits refuse nobody and do not count.
 */
export function remainingOf(limits: readonly LimitState[]): number {
  const bounds = limits
    .filter((limit) => limit.mode !== 'shadow' && typeof limit.remaining === 'number')
    .map((limit) => (limit.remaining ?? 0) + limit.granted_remaining);
  return Math.min(Number.POSITIVE_INFINITY, ...bounds);
}
