/** The fetch layer: the one file that knows how the service is called. */

import type { LiveEvent, Problem } from "./api.ts";
import { EventParser } from "./sse.ts";

/** How the service is reached. */
export interface ClientOptions {
  /** Where the service answers, without a slash at the end; empty is the page's own origin. */
  readonly baseUrl?: string;
  /** An API key or an end user's token. Asked for at each request, so that a token may be renewed. */
  readonly credential: () => string | Promise<string>;
  /** In place of the browser's `fetch`. */
  readonly fetch?: typeof fetch;
}

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Why an admin does it, for the audit log. */
  readonly reason?: string;
  readonly signal?: AbortSignal;
}

export interface StreamOptions {
  readonly subject?: string;
  readonly types?: readonly string[];
  readonly onEvent: (event: LiveEvent) => void;
  readonly onOpen?: () => void;
  /** Called when the stream was lost and is resumed after a while. */
  readonly onLost?: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** An answer that is not 2xx. `code` is what programs read. */
export class HeadroomError extends Error {
  override readonly name = "HeadroomError";
  readonly status: number;
  readonly code: string;
  readonly requestId: string;

  constructor(status: number, problem: Partial<Problem>) {
    super(problem.detail ?? problem.title ?? `the service answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.requestId = problem.request_id ?? "";
  }
}

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;
/** The service sends something every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MS_MAX = 40_000;

export class Client {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** The JSON of the answer; `undefined` when it has no body. Throws {@link HeadroomError}. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.#send(method, path, options);
    const text = await response.text();
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  get<T>(path: string, options: RequestOptions = {}): Promise<T> {
    return this.request<T>("GET", path, options);
  }

  /** The text of the answer, for `/metrics`. */
  async text(path: string, options: RequestOptions = {}): Promise<string> {
    return (await this.#send("GET", path, options)).text();
  }

  /** Follows `GET /v1/stream` until `signal` aborts, and resumes where it was lost. */
  async stream(options: StreamOptions): Promise<void> {
    const place = { id: "", wait: RETRY_MS_MIN };
    while (!options.signal.aborted) {
      try {
        await this.#follow(options, place);
      } catch (error) {
        if (options.signal.aborted) return;
        if (isFinal(error)) throw error;
        // The feed no longer reaches back so far: from here on.
        if (error instanceof HeadroomError && error.status === 410) place.id = "";
        options.onLost?.(error);
        await pause(place.wait, options.signal);
        place.wait = Math.min(place.wait * 2, RETRY_MS_MAX);
      }
    }
  }

  async #follow(options: StreamOptions, place: { id: string; wait: number }): Promise<void> {
    const watchdog = new AbortController();
    const signal = AbortSignal.any([options.signal, watchdog.signal]);
    const query = { subject: options.subject, types: options.types?.join(",") };
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (place.id !== "") headers["Last-Event-ID"] = place.id;
    const response = await this.#send("GET", "/v1/stream", { query, headers, signal });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (reader === undefined) throw new Error("the stream has no body");
    options.onOpen?.();
    place.wait = RETRY_MS_MIN;
    const parser = new EventParser();
    for (;;) {
      const timer = setTimeout(() => watchdog.abort(), SILENCE_MS_MAX);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return;
      for (const event of parser.push(value)) {
        if (event.id !== "") place.id = event.id;
        if (event.data !== "") options.onEvent(JSON.parse(event.data) as LiveEvent);
      }
    }
  }

  async #send(method: string, path: string, options: RequestOptions): Promise<Response> {
    const send = this.#options.fetch ?? fetch;
    const headers = new Headers({ Accept: "application/json", ...options.headers });
    headers.set("Authorization", `Bearer ${await this.#options.credential()}`);
    if (options.body !== undefined) headers.set("Content-Type", "application/json");
    if (options.reason) headers.set("X-Reason", headerText(options.reason));
    const response = await send((this.#options.baseUrl ?? "") + path + queryText(options.query), {
      method,
      headers,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (response.ok) return response;
    throw new HeadroomError(response.status, await problemOf(response));
  }
}

/** A path of a subject, whose name may hold slashes and colons. */
export function subjectPath(subject: string, rest = ""): string {
  return `/v1/subjects/${encodeURIComponent(subject)}${rest}`;
}

/** Asking again would be answered the same. */
function isFinal(error: unknown): boolean {
  return error instanceof HeadroomError && [400, 401, 403, 404].includes(error.status);
}

async function problemOf(response: Response): Promise<Partial<Problem>> {
  try {
    return (await response.json()) as Partial<Problem>;
  } catch {
    return {};
  }
}

function queryText(query: RequestOptions["query"] = {}): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]],
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

/** A header holds bytes: the service reads them as UTF-8. */
function headerText(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text.replace(/\s+/g, " ").trim()));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
