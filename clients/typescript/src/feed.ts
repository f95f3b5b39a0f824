import { HeadroomError, problemError, UnavailableError } from './errors.js';
import { pause, retryAfterS, waitMs } from './retry.js';
import { problemOf, type Transport } from './transport.js';

/** Which events are asked for. */
export interface FollowOptions {
  /** Only what is about this subject, and all below it. */
  subject?: string | undefined;
  /** Only these types, such as `quota-denied`. */
  types?: readonly string[] | undefined;
  /** Goes on behind this event. */
  lastEventId?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** One event of the service's stream. */
export interface FeedEvent {
  /** Where to go on from. */
  id: string;
  /** `quota-consumed`, `quota-denied`, `quota-warning`, … */
  type: string;
  /** A CloudEvent 1.0. */
  data: Readonly<Record<string, unknown>>;
}

/** The service sends something every 15 s; who is silent for longer than this is gone. */
const SILENCE_MAX_MS = 45_000;
/** The least wait before the next connection. */
const RESUME_MS = 500;
/** Connections in a row that bring nothing at all. */
const FAILURES_MAX = 10;
const LINE_CHARS_MAX = 1_048_576;

/** Reads `GET /v1/stream`, and goes on behind the last event when the connection ends. */
export async function* follow(
  transport: Transport,
  options: FollowOptions,
): AsyncGenerator<FeedEvent, void, undefined> {
  const place = { id: options.lastEventId };
  for (let failures = 0; ; ) {
    failures += 1;
    try {
      for await (const event of connection(transport, options, place)) {
        failures = 0;
        if (event) yield event;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof HeadroomError && !(error instanceof UnavailableError)) throw error;
      if (failures >= FAILURES_MAX) throw gone(error);
    }
    if (failures >= FAILURES_MAX) throw gone(undefined);
    await pause(RESUME_MS + waitMs(failures, null), options.signal);
  }
}

/** The events of one connection; `undefined` for every sign of life that is none. */
async function* connection(
  transport: Transport,
  options: FollowOptions,
  place: { id: string | undefined },
): AsyncGenerator<FeedEvent | undefined, void, undefined> {
  const quiet = new AbortController();
  const onAbort = () => quiet.abort(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  let timer = setTimeout(() => quiet.abort(new Error('the stream was silent')), SILENCE_MAX_MS);
  try {
    const response = await transport.open(request(options, place.id, quiet.signal));
    if (!response.ok || !response.body) throw await refusal(response);
    for await (const block of blocks(response.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(new Error('the stream was silent')), SILENCE_MAX_MS);
      const event = eventOf(block, place.id);
      place.id = block.id ?? place.id;
      yield event;
    }
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
    quiet.abort();
  }
}

function request(options: FollowOptions, lastEventId: string | undefined, signal: AbortSignal) {
  const query = new URLSearchParams();
  if (options.subject !== undefined) query.set('subject', options.subject);
  if (options.types?.length) query.set('types', options.types.join(','));
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (lastEventId !== undefined) headers['last-event-id'] = lastEventId;
  const target = query.size === 0 ? '/v1/stream' : `/v1/stream?${query}`;
  return { method: 'GET', target, headers, signal, repeatable: true };
}

async function refusal(response: Response): Promise<Error> {
  const text = await response.text();
  if (response.status >= 500) return new Error(`status ${response.status}`);
  try {
    const problem = problemOf(JSON.parse(text));
    if (problem) return problemError(problem, retryAfterS(response.headers));
  } catch {
    // Not the service's own words: the status has to do.
  }
  return new HeadroomError('bad_answer', `the stream was refused with status ${response.status}`);
}

/** The fields of one block of server-sent events. */
type Block = { [field in 'id' | 'event' | 'data']?: string };

async function* blocks(body: ReadableStream<Uint8Array>): AsyncGenerator<Block, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let block: Block = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (text + decoder.decode(value, { stream: true })).split(/\r\n|\n/);
    text = lines.pop() ?? '';
    if (text.length > LINE_CHARS_MAX) throw new Error('a line of the stream is too long');
    for (const line of lines) {
      if (line === '') {
        yield block;
        block = {};
      } else {
        block = withLine(block, line);
      }
    }
  }
}

function withLine(block: Block, line: string): Block {
  const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
  if (name === 'data')
    return { ...block, data: block.data === undefined ? value : `${block.data}\n${value}` };
  return name === 'id' || name === 'event' ? { ...block, [name]: value } : block;
}

function eventOf(block: Block, id: string | undefined): FeedEvent | undefined {
  if (block.data === undefined) return undefined;
  return { id: block.id ?? id ?? '', type: block.event ?? 'message', data: JSON.parse(block.data) };
}

function gone(cause: unknown): UnavailableError {
  const facts = { attempts: FAILURES_MAX, retryAfterS: null, cause };
  return new UnavailableError(
    'unreachable',
    `the stream ended ${FAILURES_MAX} times without a sign of life`,
    facts,
  );
}
