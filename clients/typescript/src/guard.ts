import type { Headroom } from './client.js';
import { type Accepted, type RateLimitHeaders, remainingOf } from './decision.js';
import { ForbiddenError, UnavailableError } from './errors.js';
import { type RequestFacts, requestKey } from './keys.js';
import type { LimitState, Order, Problem } from './openapi.js';

/** A value, or how to find it from the request. */
export type From<R, T> = T | ((request: R) => T | Promise<T>);

/** What is charged: exactly one of a metric and a model. */
export type Charged<R> =
  | { metric: From<R, string>; model?: never }
  | { model: From<R, string>; metric?: never };

/** What all routes of an app have in common. */
export interface GuardOptions<R> {
  headroom: Headroom;
  /** Who is charged, as your own sign-in knows it, such as `user:u_1`; `null` for a caller who has not signed in. */
  subject: (request: R) => string | null | Promise<string | null>;
  /** What happens to a request while nobody can decide: it passes uncounted (`open`), or gets a 503 (`closed`). */
  whenAway: 'open' | 'closed';
  /** A `POST` or `PUT` with the same content within so many milliseconds is charged once; 5,000 by default, 0 never. */
  windowMs?: number | undefined;
  /** Whether a request that was charged before is handled again (`run`, the default) or gets a 409 (`refuse`). */
  onRepeat?: 'run' | 'refuse' | undefined;
}

/** What one route charges. */
export type RouteOptions<R> = Charged<R> & {
  /** How often; 1 by default. */
  amount?: From<R, number> | undefined;
  /** Your own data for the message log, at most 2,048 bytes of JSON. */
  metadata?: From<R, Record<string, unknown>> | undefined;
};

/** What a handler is told: it runs only when the request may go on, and by then it is charged. */
export interface Quota {
  /** The least units that are left over all limits: `Infinity` without a bound, `null` when nobody knows. */
  remaining: number | null;
  limits: LimitState[];
  /** What `refund` takes; `null` when nothing was charged. */
  eventId: string | null;
  /** Whether it was let through without being counted, because a store or the service was away. */
  degraded: boolean;
  /** Whether it was charged before, under the same idempotency key. */
  repeated: boolean;
  /** For the answer of the handler. */
  headers: RateLimitHeaders;
}

/** An answer in place of the handler's. */
export interface Denial {
  status: number;
  headers: Record<string, string>;
  problem: GuardProblem;
}

/** A problem of the service, or of the guard itself. */
export type GuardProblem = Omit<Problem, 'code'> & { code: Problem['code'] | 'request_repeated' };

/** What comes of a request: it goes on, or it is answered. */
export type Verdict = { quota: Quota; denial?: never } | { denial: Denial; quota?: never };

const WINDOW_MS = 5_000;

/**
 * Decides and charges one request of an app. What the app itself did wrong, such as a metric that the catalogue does
 * not have or a bad API key, is thrown: that is nothing to tell its callers. `request` is called once for each function
 * of the options, so that it may give each a copy.
 */
export async function guard<R>(
  options: GuardOptions<R> & RouteOptions<R>,
  request: () => R,
  facts: RequestFacts,
): Promise<Verdict> {
  try {
    const { order, what } = await orderOf(options, request);
    const charge = { subject: order.subject ?? null, what };
    const idempotencyKey = await requestKey(facts, charge, options.windowMs ?? WINDOW_MS);
    const decision = await options.headroom.consume(order, { idempotencyKey });
    if (!decision.allowed) {
      return { denial: denialOf(decision.problem, facts, decision.retryAfterS, decision.headers) };
    }
    if (decision.replayed && options.onRepeat === 'refuse') {
      return { denial: denialOf(repeated(decision), facts, null) };
    }
    return { quota: quotaOf(decision) };
  } catch (error) {
    return withoutDecision(options, facts, error);
  }
}

async function orderOf<R>(
  options: GuardOptions<R> & RouteOptions<R>,
  request: () => R,
): Promise<{ order: Order; what: string }> {
  const subject = await options.subject(request());
  const amount = await found(options.amount, request);
  const metadata = await found(options.metadata, request);
  const metric = await found(options.metric, request);
  const model = await found(options.model, request);
  const order = {
    ...(subject !== null && { subject }),
    ...(metric !== undefined && { metric }),
    ...(model !== undefined && { model }),
    ...(amount !== undefined && { amount }),
    ...(metadata !== undefined && { metadata }),
  };
  return { order, what: metric === undefined ? `model ${model}` : `metric ${metric}` };
}

async function found<R, T extends string | number | object>(
  source: From<R, T> | undefined,
  request: () => R,
): Promise<T | undefined> {
  return typeof source === 'function' ? await source(request()) : source;
}

function quotaOf(decision: Accepted): Quota {
  return {
    remaining: decision.degraded ? null : remainingOf(decision.limits),
    limits: decision.limits,
    eventId: decision.event_id ?? null,
    degraded: decision.degraded,
    repeated: decision.replayed,
    headers: decision.headers,
  };
}

/** Nobody decided, or the request is not allowed at all; all else goes to the app. */
function withoutDecision<R>(options: GuardOptions<R>, facts: RequestFacts, error: unknown): Verdict {
  if (error instanceof ForbiddenError && error.code !== 'permission_denied') {
    return { denial: denialOf(error.problem, facts, null) };
  }
  if (!(error instanceof UnavailableError)) throw error;
  if (options.whenAway === 'open') {
    options.headroom.onLost(error, 'a request passed uncounted');
    const unknown = { remaining: null, limits: [], eventId: null, repeated: false, headers: {} };
    return { quota: { ...unknown, degraded: true } };
  }
  return { denial: denialOf(AWAY, facts, error.retryAfterS ?? 1) };
}

function denialOf(
  problem: GuardProblem,
  facts: RequestFacts,
  retryAfterS: number | null,
  headers: RateLimitHeaders = {},
): Denial {
  const [instance] = facts.target.split('?');
  return {
    status: problem.status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
      ...(retryAfterS !== null && { 'Retry-After': String(Math.ceil(retryAfterS)) }),
      ...headers,
    },
    problem: { ...problem, instance: instance ?? null },
  };
}

const AWAY: GuardProblem = {
  type: 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
  title: 'Temporary Reduced Capacity',
  status: 503,
  detail: 'the quota service cannot be reached',
  code: 'store_unavailable',
  request_id: '',
};

function repeated(decision: Accepted): GuardProblem {
  return {
    type: 'urn:headroom:problem:request_repeated',
    title: 'The request was sent before',
    status: 409,
    detail: 'the same request was charged before, and is handled once',
    code: 'request_repeated',
    request_id: decision.request_id,
  };
}
