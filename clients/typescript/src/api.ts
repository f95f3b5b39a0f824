// Types that read the OpenAPI document: what a route takes and what it answers.
import type { paths } from './openapi.js';

/** The methods of HTTP that the service knows. */
export type Verb = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** The paths that have a method. */
export type PathOf<V extends Verb> = {
  [P in keyof paths]: paths[P] extends Record<Lowercase<V>, object> ? P : never;
}[keyof paths];

/** The description of a route. */
export type Operation<V extends Verb, P extends PathOf<V>> =
  paths[P] extends Record<Lowercase<V>, infer O> ? O : never;

type Parameters<O, Place extends string> = O extends { parameters: { [K in Place]?: infer T } } ? T : never;
type Json<T> = T extends { content: { 'application/json': infer B } } ? B : never;
type PathPart<O> =
  Parameters<O, 'path'> extends infer T
    ? [Exclude<T, undefined>] extends [never]
      ? { path?: never }
      : { path: T }
    : never;
type QueryPart<O> = O extends { parameters: { query: Record<string, unknown> } }
  ? { query: Parameters<O, 'query'> }
  : { query?: Exclude<Parameters<O, 'query'>, undefined> };
type BodyPart<O> = O extends { requestBody: infer B }
  ? { body: Json<B> }
  : O extends { requestBody?: infer B }
    ? { body?: Json<Exclude<B, undefined>> }
    : { body?: never };

/** What a route takes. */
export type Input<O> = PathPart<O> & QueryPart<O> & BodyPart<O>;

/** The JSON that a route answers with. */
export type Output<O> = O extends { responses: infer R }
  ? R extends { 200: infer T }
    ? Json<T>
    : R extends { 201: infer T }
      ? Json<T>
      : undefined
  : never;

/** What may be said of any request, beside what the route itself takes. */
export interface RequestOptions {
  /** The same key and payload are charged once. Made when absent, so that the retries of this client charge once. */
  idempotencyKey?: string | undefined;
  /** For changes of what is configured: the `ETag` that was read, or `*`. */
  ifMatch?: string | undefined;
  /** For admins: why, for the audit log. */
  reason?: string | undefined;
  requestId?: string | undefined;
  /** W3C Trace Context, carried into logs and events. */
  traceparent?: string | undefined;
  /** Ends the request, its retries too. */
  signal?: AbortSignal | undefined;
}
