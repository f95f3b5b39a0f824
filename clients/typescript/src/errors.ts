import type { LimitState, Problem, ProblemCode } from './openapi.js';

/** What went wrong, for programs: a code of the service, or one of this client. The set only grows. */
export type ErrorCode = ProblemCode | 'unreachable' | 'bad_answer';

/** Every error that this package throws; an abort by the caller's own signal is thrown as it is. */
export class HeadroomError extends Error {
  override readonly name: string = 'HeadroomError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Nobody could decide: no connection, no answer in time, or a 5xx, also after the retries.
 * Whoever catches it has to choose whether the work goes on.
 */
export class UnavailableError extends HeadroomError {
  override readonly name = 'UnavailableError';
  /** How often it was tried. */
  readonly attempts: number;
  /** When to try again, in seconds; `null` when nobody said. */
  readonly retryAfterS: number | null;

  constructor(
    code: ErrorCode,
    message: string,
    facts: { attempts: number; retryAfterS: number | null; cause?: unknown },
  ) {
    super(code, message, { cause: facts.cause });
    this.attempts = facts.attempts;
    this.retryAfterS = facts.retryAfterS;
  }
}

/** The service said no, in `application/problem+json` (RFC 9457). */
export class ProblemError extends HeadroomError {
  override readonly name: string = 'ProblemError';
  readonly problem: Problem;
  /** `Retry-After`, in seconds. */
  readonly retryAfterS: number | null;

  constructor(problem: Problem, retryAfterS: number | null) {
    super(problem.code, problem.detail);
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }
}

/** 400, 408, 413, 415, 422: the request has to change before it can pass. */
export class InvalidRequestError extends ProblemError {
  override readonly name = 'InvalidRequestError';
}

/** 401: no or a bad credential. */
export class UnauthenticatedError extends ProblemError {
  override readonly name = 'UnauthenticatedError';
}

/** 403: a model, a feature or a permission that is not given, or a subject that is blocked. */
export class ForbiddenError extends ProblemError {
  override readonly name = 'ForbiddenError';
}

/** 404: unknown, or out of the credential's reach. */
export class NotFoundError extends ProblemError {
  override readonly name = 'NotFoundError';
}

/** 409, 410, 412, 428: the thing is in another state than the request needs. */
export class ConflictError extends ProblemError {
  override readonly name = 'ConflictError';
}

/** 429: no units are left. `consume`, `check` and `reserve` return a refusal instead of throwing this. */
export class QuotaExceededError extends ProblemError {
  override readonly name = 'QuotaExceededError';
  /** What web frameworks answer when nobody catches this. No other error has one: it would be the app's own mistake. */
  readonly status = 429;

  /** Every limit that the request was measured against. */
  get limits(): LimitState[] {
    return this.problem.limits ?? [];
  }
}

const BY_STATUS: Readonly<
  Record<number, new (problem: Problem, retryAfterS: number | null) => ProblemError>
> = {
  400: InvalidRequestError,
  401: UnauthenticatedError,
  403: ForbiddenError,
  404: NotFoundError,
  408: InvalidRequestError,
  409: ConflictError,
  410: ConflictError,
  412: ConflictError,
  413: InvalidRequestError,
  415: InvalidRequestError,
  422: InvalidRequestError,
  428: ConflictError,
  429: QuotaExceededError,
};

/** The error of a problem's status. */
export function problemError(problem: Problem, retryAfterS: number | null): ProblemError {
  const Class = BY_STATUS[problem.status] ?? ProblemError;
  return new Class(problem, retryAfterS);
}
