/** How long a request is tried. */
export interface RetryOptions {
  /** The most tries of one request, the first included: 1 to 10; 3 by default. */
  maxAttempts?: number | undefined;
  /** How long one try may take, in milliseconds; 2,000 by default. */
  timeoutMs?: number | undefined;
  /** How long all tries and the waits between them may take, in milliseconds; 5,000 by default. */
  deadlineMs?: number | undefined;
}

export type RetryPolicy = { readonly [name in keyof RetryOptions]-?: number };

const ATTEMPTS_MAX = 10;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 1_000;

/** The options with their defaults, within their bounds. */
export function retryPolicy(options: RetryOptions): RetryPolicy {
  const { maxAttempts = 3, timeoutMs = 2_000, deadlineMs = 5_000 } = options;
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > ATTEMPTS_MAX) {
    throw new RangeError(`maxAttempts must be a whole number from 1 to ${ATTEMPTS_MAX}`);
  }
  if (!(timeoutMs > 0) || !(deadlineMs > 0)) {
    throw new RangeError('timeoutMs and deadlineMs must be above 0');
  }
  return { maxAttempts, timeoutMs, deadlineMs };
}

/**
 * How long to wait before the next try: what the service said, else a random share of a time that doubles
 * (full jitter), so that the clients of a service that was away do not come back all at once.
 */
export function waitMs(attempt: number, retryAfterS: number | null, random = Math.random): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  const jittered = random() * ceiling;
  return retryAfterS === null ? jittered : retryAfterS * 1_000 + jittered;
}

/** Seconds of a `Retry-After`, which is a number of them or a date. */
export function retryAfterS(headers: Headers, nowMs = Date.now()): number | null {
  const text = headers.get('retry-after');
  if (text === null) return null;
  const seconds = /^\d+$/.test(text.trim()) ? Number(text) : (Date.parse(text) - nowMs) / 1_000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/** Waits, unless the signal fires first: then it throws the signal's reason. */
export function pause(ms: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
