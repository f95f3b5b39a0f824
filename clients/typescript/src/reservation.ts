import type { Headroom } from './client.js';
import { HeadroomError, ProblemError, problemError, UnavailableError } from './errors.js';
import type { Hold, Reserve } from './openapi.js';

/** What is held, and who chooses what when nobody can decide. */
export interface ReservationOptions {
  headroom: Headroom;
  /** Who is charged; `null` for a caller who has not signed in. */
  subject: string | null;
  /** What is charged: exactly one of a metric and a model. */
  metric?: string | undefined;
  model?: string | undefined;
  /** The most that the work may take. */
  amount: number;
  /** What happens while nobody can decide: the work goes on uncounted (`open`), or the error is thrown (`closed`). */
  whenAway: 'open' | 'closed';
  /** How long the units are held at a time, in seconds: that is how long they stay held when this process dies; 60. */
  ttlS?: number | undefined;
  /** How long the work may take in all, in seconds: after that the hold is extended no more; 3,600. */
  lifeS?: number | undefined;
  /** Your own data for the message log, at most 2,048 bytes of JSON. */
  metadata?: Record<string, unknown> | undefined;
  /** The same key is held once. */
  idempotencyKey?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** How a reservation ended. */
export type Settled = Hold | null;

const TTL_S = 60;
const LIFE_S = 3_600;

/**
 * Holds units, and holds on to them until they are committed or released.
 *
 * @throws QuotaExceededError when no units are left, UnavailableError when nobody can decide and `whenAway` is `closed`
 */
export async function hold(options: ReservationOptions): Promise<Reservation> {
  const { headroom, idempotencyKey, signal } = options;
  try {
    const decision = await headroom.reserve(orderOf(options), { idempotencyKey, signal });
    if (!decision.allowed) throw problemError(decision.problem, decision.retryAfterS);
    return new Reservation(options, decision.reservation_id ?? null);
  } catch (error) {
    if (!(error instanceof UnavailableError) || options.whenAway === 'closed') throw error;
    headroom.onLost(error, 'work was begun without a hold');
    return new Reservation(options, null);
  }
}

function orderOf(options: ReservationOptions): Reserve {
  const { subject, metric, model, amount, metadata, ttlS = TTL_S } = options;
  return {
    amount,
    ttl_s: ttlS,
    ...(subject !== null && { subject }),
    ...(metric !== undefined && { metric }),
    ...(model !== undefined && { model }),
    ...(metadata !== undefined && { metadata }),
  };
}

/** Units that are held, with a timer that extends the hold at half its time. It ends once: `commit` or `release`. */
export class Reservation {
  /** What the work was allowed to take. */
  readonly amount: number;
  /** `null` when the work goes on without a hold, because nobody could decide. */
  readonly id: string | null;
  readonly #options: ReservationOptions;
  readonly #endsAt: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #end: Promise<Settled> | undefined;

  constructor(options: ReservationOptions, id: string | null) {
    this.#options = options;
    this.amount = options.amount;
    this.id = id;
    this.#endsAt = Date.now() + (options.lifeS ?? LIFE_S) * 1_000;
    this.#extendLater();
  }

  /**
   * Charges what the work took, rounded up, and sets the rest free. Never throws: work that is done is not undone because it cannot
   * be counted now. `onLost` of the client is told, and the hold ends by itself; `null` is returned.
   */
  commit(amount: number): Promise<Settled> {
    const whole = Math.max(0, Math.ceil(amount));
    return this.#settle('commit', (id) => this.#options.headroom.commit(id, { amount: whole }));
  }

  /** Sets everything free. Never throws, as `commit`. */
  release(): Promise<Settled> {
    return this.#settle('release', (id) => this.#options.headroom.release(id));
  }

  #settle(how: string, send: (id: string) => Promise<Hold>): Promise<Settled> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#end ??= this.#sent(how, send);
    return this.#end;
  }

  async #sent(how: string, send: (id: string) => Promise<Hold>): Promise<Settled> {
    if (this.id === null) return null;
    try {
      return await send(this.id);
    } catch (error) {
      if (!(error instanceof HeadroomError)) throw error;
      this.#options.headroom.onLost(error, `the ${how} of a reservation was lost`);
      return null;
    }
  }

  #extendLater(): void {
    if (this.id === null || Date.now() >= this.#endsAt) return;
    const halfMs = (this.#options.ttlS ?? TTL_S) * 500;
    this.#timer = setTimeout(() => void this.#extend(), halfMs);
  }

  async #extend(): Promise<void> {
    if (this.id === null) return;
    try {
      await this.#options.headroom.extend(this.id, { ttl_s: this.#options.ttlS ?? TTL_S });
    } catch (error) {
      // A hold that has ended cannot be extended; what the work took is committed all the same.
      if (error instanceof ProblemError) return;
    }
    if (this.#end === undefined) this.#extendLater();
  }
}
