import type { Input, Operation, Output, PathOf, RequestOptions, Verb } from './api.js';
import { type Decision, decisionOf, type ReserveDecision } from './decision.js';
import { problemError } from './errors.js';
import { type FeedEvent, type FollowOptions, follow } from './feed.js';
import type {
  Commit,
  Extend,
  Forecast,
  Grant,
  Hold,
  NewGrant,
  Order,
  Problem,
  Refund,
  Refunded,
  Release,
  Reserve,
  Subject,
  Usage,
} from './openapi.js';
import { retryAfterS } from './retry.js';
import { type ConnectionOptions, type Reply, Transport } from './transport.js';

/** How a client is made. */
export interface HeadroomOptions extends ConnectionOptions {
  /**
   * Told of what was let through uncounted, because the service was away and `whenAway` is `open`, and of
   * reservations that could not be settled. `console.warn` by default.
   */
  onLost?: ((error: unknown, what: string) => void) | undefined;
}

/** Which usage is asked for. */
export interface UsageFilter {
  metric?: string;
  period?: 'minute' | 'hour' | 'day' | 'week' | 'month' | 'lifetime';
}

type Values = Readonly<Record<string, string | number | boolean | null | undefined>>;
interface AnyInput {
  path?: Values;
  query?: Values;
  body?: unknown;
}

/**
 * A client of Headroom. Keeps nothing between requests: make one and share it.
 *
 * Every request throws an `UnavailableError` when nobody could decide, and a `ProblemError` when the service
 * says that the request is wrong. A refusal is neither: it is the answer, with `allowed: false`.
 */
export class Headroom {
  readonly #transport: Transport;
  /** Told of what was let through uncounted. */
  readonly onLost: (error: unknown, what: string) => void;

  constructor(options: HeadroomOptions) {
    this.#transport = new Transport(options);
    this.onLost = options.onLost ?? ((error, what) => console.warn(`headroom: ${what}:`, error));
  }

  /** Decides and charges: every limit of every level of the subject, or none. */
  async consume(order: Order, options: RequestOptions = {}): Promise<Decision> {
    return decisionOf(await this.#send('POST', '/v1/consume', { body: order }, options));
  }

  /** Decides without charging. Holds no place: the answer is true for the moment. */
  async check(order: Order, options: RequestOptions = {}): Promise<Decision> {
    return decisionOf(await this.#send('POST', '/v1/check', { body: order }, options));
  }

  /** Decides as a consume does, and holds the units until they are committed, released or `ttl_s` has passed. */
  async reserve(order: Reserve, options: RequestOptions = {}): Promise<ReserveDecision> {
    const reply = await this.#send('POST', '/v1/reservations', { body: order }, options);
    return decisionOf(reply) as ReserveDecision;
  }

  /** Charges what the work took, and sets the rest free. */
  commit(reservation_id: string, commit: Commit, options?: RequestOptions): Promise<Hold> {
    return this.#end(reservation_id, 'commit', commit, options);
  }

  /** Sets everything free that is held. */
  release(reservation_id: string, release: Release = {}, options?: RequestOptions): Promise<Hold> {
    return this.#end(reservation_id, 'release', release, options);
  }

  /** Holds on, for `ttl_s` from now. */
  extend(reservation_id: string, extend: Extend, options?: RequestOptions): Promise<Hold> {
    return this.#end(reservation_id, 'extend', extend, options);
  }

  /** Gives back exactly what an event took, once. */
  refund(event_id: string, refund: Refund = {}, options?: RequestOptions): Promise<Refunded> {
    return this.request(
      'POST',
      '/v1/events/{event_id}:refund',
      { path: { event_id }, body: refund },
      options,
    );
  }

  /** Every limit of every level of the subject. */
  usage(subject: string, filter: UsageFilter = {}, options?: RequestOptions): Promise<Usage> {
    return this.request('GET', '/v1/subjects/{subject}/usage', { path: { subject }, query: filter }, options);
  }

  /** When the units will be used up at the present pace. */
  forecast(subject: string, metric: string, options?: RequestOptions): Promise<Forecast> {
    const input = { path: { subject }, query: { metric } };
    return this.request('GET', '/v1/subjects/{subject}/forecast', input, options);
  }

  /** What is configured for a subject. */
  subject(subject: string, options?: RequestOptions): Promise<Subject> {
    return this.request('GET', '/v1/subjects/{subject}', { path: { subject } }, options);
  }

  /** Gives a subject bonus units. */
  grant(subject: string, grant: NewGrant, options?: RequestOptions): Promise<Grant> {
    return this.request('POST', '/v1/subjects/{subject}/grants', { path: { subject }, body: grant }, options);
  }

  /** What happens, as it happens: goes on by itself behind the last event when the connection ends. */
  follow(options: FollowOptions = {}): AsyncGenerator<FeedEvent, void, undefined> {
    return follow(this.#transport, options);
  }

  /** Any route of the service, with the types of its OpenAPI document. */
  async request<V extends Verb, P extends PathOf<V>>(
    verb: V,
    path: P,
    input: Input<Operation<V, P>>,
    options: RequestOptions = {},
  ): Promise<Output<Operation<V, P>>> {
    const reply = await this.#send(verb, path, input as AnyInput, options);
    if (reply.status === 429) throw problemError(reply.body as Problem, retryAfterS(reply.headers));
    return reply.body as Output<Operation<V, P>>;
  }

  async #end(
    id: string,
    how: 'commit' | 'release' | 'extend',
    body: Commit | Release | Extend,
    options: RequestOptions = {},
  ): Promise<Hold> {
    const path = `/v1/reservations/{id}:${how}`;
    const reply = await this.#send('POST', path, { path: { id }, body }, options);
    return reply.body as Hold;
  }

  #send(method: Verb, path: string, input: AnyInput, options: RequestOptions): Promise<Reply> {
    return this.#transport.send({
      method,
      target: target(path, input),
      headers: headersOf(method, path, input, options),
      body: input.body === undefined ? undefined : JSON.stringify(input.body),
      signal: options.signal,
      // What was changed since it was read must not be changed twice.
      repeatable: options.ifMatch === undefined || options.ifMatch === '*',
    });
  }
}

function target(path: string, input: AnyInput): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(`${input.path?.[name]}`));
  const given = Object.entries(input.query ?? {}).filter(([, value]) => value != null);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return query === '' ? filled : `${filled}?${query}`;
}

function headersOf(
  method: Verb,
  path: string,
  input: AnyInput,
  options: RequestOptions,
): Record<string, string> {
  // A refund is named by its event: without a key it answers the same however often it is sent.
  const needsKey = method !== 'GET' && !path.endsWith(':refund');
  const key = options.idempotencyKey ?? (needsKey ? crypto.randomUUID() : undefined);
  const headers = {
    accept: 'application/json',
    'content-type': input.body === undefined ? undefined : 'application/json',
    'idempotency-key': key,
    'if-match': options.ifMatch,
    'x-reason': options.reason,
    'x-request-id': options.requestId,
    traceparent: options.traceparent,
  };
  const given = Object.entries(headers).filter((header): header is [string, string] => header[1] != null);
  return Object.fromEntries(given);
}
