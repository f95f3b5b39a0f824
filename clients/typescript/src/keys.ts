/** The header in which a caller names a request, so that it is charged once however often it is sent. */
export const KEY_HEADERS = ['idempotency-key', 'x-idempotency-key'] as const;

/** How much of a body tells one request from another. */
export const BODY_BYTES_MAX = 1_048_576;

/** What tells one request of an app from another. */
export interface RequestFacts {
  method: string;
  /** Path and query. */
  target: string;
  /** The key that the caller sent. */
  callerKey: string | null;
  /** `content-length`, as sent. */
  length: string | null;
  /** The first `BODY_BYTES_MAX` bytes; `null` when there is no body, `unread` when it cannot be looked at. */
  body: () => Promise<Uint8Array | string | null | 'unread'>;
}

/** Who is charged for what. */
export interface Charge {
  subject: string | null;
  /** A metric or a model. */
  what: string;
}

/** Requests that are safe to send again, or that a person does not repeat by a double click. */
const ONE_KEY_EACH: readonly string[] = ['GET', 'HEAD', 'DELETE', 'OPTIONS'];

/**
 * The idempotency key of one request of an app.
 *
 * - A caller's own key is hashed with subject, metric and the request itself: nobody can spend another's key, and the
 *   same key on other content is another request.
 * - `GET` and `DELETE` get a key of their own each.
 * - Others get the same key when the same subject sends the same content to the same place within one window, as a
 *   double click does. Windows are aligned to the clock. When the content cannot be seen, or nobody has signed in, so that
 *   two callers cannot be told apart, each gets its own.
 */
export async function requestKey(
  facts: RequestFacts,
  charge: Charge,
  windowMs: number,
  nowMs = Date.now(),
): Promise<string> {
  const scope = [charge.subject ?? '', charge.what, facts.method, facts.target];
  if (facts.callerKey !== null) {
    return await digest('key', facts.callerKey, ...scope, await contentOf(facts));
  }
  const hasOwnKey = ONE_KEY_EACH.includes(facts.method) || windowMs <= 0 || charge.subject === null;
  if (hasOwnKey) return crypto.randomUUID();
  const content = await contentOf(facts);
  if (content === 'unread') return crypto.randomUUID();
  return await digest('window', String(Math.floor(nowMs / windowMs)), ...scope, content);
}

async function contentOf(facts: RequestFacts): Promise<string> {
  const body = await facts.body();
  if (body === 'unread') return facts.callerKey === null ? 'unread' : `unread ${facts.length}`;
  return body === null ? '' : `${facts.length} ${await sha256(body)}`;
}

/** A hash over all parts, each apart from the next. */
async function digest(...parts: string[]): Promise<string> {
  return await sha256(JSON.stringify(parts));
}

async function sha256(content: Uint8Array | string): Promise<string> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const hash = await crypto.subtle.digest('SHA-256', bytes as BufferSource);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What tells one `Request` from another. Its body stays unread: a copy is looked at. */
export function factsOf(request: Request): RequestFacts {
  const { pathname, search } = new URL(request.url);
  return {
    method: request.method,
    target: pathname + search,
    callerKey: callerKey((name) => request.headers.get(name)),
    length: request.headers.get('content-length'),
    body: () => firstBytes(request),
  };
}

/** The caller's key, from whichever header has it. */
export function callerKey(header: (name: string) => string | null | undefined): string | null {
  for (const name of KEY_HEADERS) {
    const value = header(name);
    if (value) return value;
  }
  return null;
}

async function firstBytes(request: Request): Promise<Uint8Array | null | 'unread'> {
  if (request.bodyUsed) return 'unread';
  const { body } = request.clone();
  if (body === null) return null;
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  for (let size = 0; size < BODY_BYTES_MAX; ) {
    const { done, value } = await reader.read();
    if (done) return joined(chunks);
    chunks.push(value);
    size += value.byteLength;
  }
  void reader.cancel();
  return joined(chunks);
}

function joined(chunks: Uint8Array[]): Uint8Array {
  const size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole.subarray(0, BODY_BYTES_MAX);
}
