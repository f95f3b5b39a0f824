export type { Input, Operation, Output, PathOf, RequestOptions, Verb } from './api.js';
export { Headroom, type HeadroomOptions, type UsageFilter } from './client.js';
export {
  type Accepted,
  type Decision,
  type Held,
  type RateLimitHeaders,
  type Refused,
  type ReserveDecision,
  remainingOf,
} from './decision.js';
export * from './errors.js';
export type { FeedEvent, FollowOptions } from './feed.js';
export type * as schemas from './openapi.js';
export { hold, Reservation, type ReservationOptions, type Settled } from './reservation.js';
export { type Source, type StreamOptions, streamWithReservation } from './stream.js';
