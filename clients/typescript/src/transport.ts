import { type HeadroomError, ProblemError, problemError, UnavailableError } from './errors.js';
import type { Problem } from './openapi.js';
import { pause, type RetryOptions, type RetryPolicy, retryAfterS, retryPolicy, waitMs } from './retry.js';

/** Where the service is, and who asks. */
export interface ConnectionOptions extends RetryOptions {
  /** Where the service answers, such as `https://quota.example`. */
  url: string;
  /** An API key of a backend, or an end user's token; a function is asked before every try. */
  apiKey: string | (() => string | Promise<string>);
  /** In place of the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
}

/** One request; the same bytes are sent at every try. */
export interface Outgoing {
  method: string;
  /** Path and query. */
  target: string;
  headers: Record<string, string>;
  body?: string | undefined;
  signal?: AbortSignal | undefined;
  /** Whether it may be sent again when nobody knows what became of it. */
  repeatable: boolean;
}

/** What came back. */
export interface Reply {
  status: number;
  headers: Headers;
  /** The JSON; `undefined` when there is none. */
  body: unknown;
}

/** What one try came to, when it was no answer. */
interface Failure {
  error: Error;
  code: HeadroomError['code'];
  retryAfterS: number | null;
  /** Whether another try may come to something else. */
  transient: boolean;
}

/** These say nothing of the request itself, so another try may pass. */
const TRANSIENT_STATUSES: readonly number[] = [408, 502, 503, 504];

/** Sends requests, and sends them again while that helps. */
export class Transport {
  readonly #options: ConnectionOptions;
  readonly #policy: RetryPolicy;
  readonly #base: string;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#policy = retryPolicy(options);
    this.#base = new URL(options.url).href.replace(/\/+$/, '');
  }

  /** Sends one request: at most `maxAttempts` tries, all within `deadlineMs`. */
  async send(request: Outgoing): Promise<Reply> {
    const deadline = Date.now() + this.#policy.deadlineMs;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.#try(request, deadline);
      if (!('error' in outcome)) return outcome;
      const wait = waitMs(attempt, outcome.retryAfterS);
      const isLast = attempt >= this.#policy.maxAttempts || Date.now() + wait >= deadline;
      if (isLast || !outcome.transient || !request.repeatable) throw unavailable(outcome, attempt);
      await pause(wait, request.signal);
    }
  }

  /** Opens one answer without reading its body, for streams; no retry and no time-out. */
  async open(request: Outgoing): Promise<Response> {
    return await this.#fetch(request, request.signal);
  }

  async #try(request: Outgoing, deadline: number): Promise<Reply | Failure> {
    request.signal?.throwIfAborted();
    const limit = new AbortController();
    const onAbort = () => limit.abort(request.signal?.reason);
    request.signal?.addEventListener('abort', onAbort, { once: true });
    const timeoutMs = Math.max(1, Math.min(this.#policy.timeoutMs, deadline - Date.now()));
    const timer = setTimeout(() => limit.abort(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    try {
      return await read(await this.#fetch(request, limit.signal));
    } catch (error) {
      request.signal?.throwIfAborted();
      if (error instanceof ProblemError) throw error;
      const code = limit.signal.aborted ? 'timed_out' : 'unreachable';
      return {
        error: limit.signal.aborted ? limit.signal.reason : error,
        code,
        retryAfterS: null,
        transient: true,
      };
    } finally {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    }
  }

  async #fetch(request: Outgoing, signal: AbortSignal | undefined): Promise<Response> {
    const { apiKey, fetch = globalThis.fetch } = this.#options;
    const key = typeof apiKey === 'function' ? await apiKey() : apiKey;
    return await fetch(this.#base + request.target, {
      method: request.method,
      headers: { ...request.headers, authorization: `Bearer ${key}` },
      body: request.body ?? null,
      signal: signal ?? null,
      redirect: 'manual',
    });
  }
}

/** The answer, when there is one. Every problem below 500 is an answer, and thrown unless it is a refusal. */
async function read(response: Response): Promise<Reply | Failure> {
  const { status, headers } = response;
  const body = parse(await response.text());
  const isJson = body !== undefined || status === 204;
  if (status >= 200 && status < 300 && isJson) return { status, headers, body };
  const problem = problemOf(body);
  const isAnswer = problem !== null && status < 500 && status !== 408;
  if (isAnswer && status === 429) return { status, headers, body };
  if (isAnswer) throw problemError(problem, retryAfterS(headers));
  return {
    error: new Error(problem?.detail ?? `an answer with status ${status} that is not the service's`),
    code: problem?.code ?? 'bad_answer',
    retryAfterS: retryAfterS(headers),
    transient: TRANSIENT_STATUSES.includes(status),
  };
}

function unavailable(failure: Failure, attempts: number): UnavailableError {
  const times = attempts === 1 ? 'once' : `${attempts} times`;
  const facts = { attempts, retryAfterS: failure.retryAfterS, cause: failure.error };
  return new UnavailableError(failure.code, `Headroom was asked ${times}: ${why(failure.error)}`, facts);
}

/** The message, with that of the cause: `fetch failed` alone says little. */
function why(error: Error): string {
  const { cause } = error;
  return cause instanceof Error && cause.message ? `${error.message}: ${cause.message}` : error.message;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The body as a problem, when it is one. */
export function problemOf(body: unknown): Problem | null {
  const isProblem = typeof body === 'object' && body !== null && 'code' in body && 'status' in body;
  return isProblem ? (body as Problem) : null;
}
