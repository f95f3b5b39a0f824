import { hold, type Reservation, type ReservationOptions } from './reservation.js';

/** Anything that yields chunks: what model SDKs return. */
export type Source<T> = AsyncIterable<T> | ReadableStream<T>;

/** A reservation, the work that it is for, and how its cost is known. */
export interface StreamOptions<T> extends ReservationOptions {
  /** Calls the model. The signal fires when the reader goes away. */
  start: (signal: AbortSignal) => Source<T> | Promise<Source<T>>;
  /**
   * The units that the stream has taken so far, when a chunk tells; the last one counts. When no chunk told, all that
   * was held is charged, so that a reader who leaves just before the end has nothing for free.
   */
  used: (chunk: T) => number | null | undefined;
}

/**
 * Holds units before a model is called, holds on while it streams, and commits what it really took: at the end, and
 * also when the reader goes away or `signal` fires. An error of the model releases what was held.
 *
 * @throws QuotaExceededError when no units are left, UnavailableError when nobody can decide and `whenAway` is `closed`
 */
export async function streamWithReservation<T>(options: StreamOptions<T>): Promise<ReadableStream<T>> {
  const reservation = await hold(options);
  const gone = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, gone.signal]) : gone.signal;
  try {
    const source = await options.start(signal);
    return settled(source, reservation, { used: options.used, signal, onGone: (why) => gone.abort(why) });
  } catch (error) {
    await reservation.release();
    throw error;
  }
}

/** How a stream tells what it took, and that its reader went away. */
interface Settling<T> {
  used: (chunk: T) => number | null | undefined;
  /** An error after this fired is the reader's doing, not the model's. */
  signal: AbortSignal | undefined;
  onGone?: (why: unknown) => void;
}

/** The same chunks; the reservation is settled before the end is told. */
export function settled<T>(
  source: Source<T>,
  reservation: Reservation,
  { used, signal, onGone }: Settling<T>,
): ReadableStream<T> {
  const chunks = iterate(source);
  let taken: number | undefined;
  const commit = () => reservation.commit(taken ?? reservation.amount);
  return new ReadableStream<T>(
    {
      async pull(controller) {
        try {
          const next = await chunks.next();
          if (!next.done) {
            taken = used(next.value) ?? taken;
            return controller.enqueue(next.value);
          }
        } catch (error) {
          await (signal?.aborted ? commit() : reservation.release());
          return controller.error(error);
        }
        await commit();
        controller.close();
      },
      async cancel(reason) {
        onGone?.(reason);
        await Promise.allSettled([chunks.return(), commit()]);
      },
    },
    { highWaterMark: 0 },
  );
}

interface Chunks<T> {
  next: () => Promise<IteratorResult<T, unknown>>;
  return: () => Promise<unknown>;
}

/** Not every browser can iterate over a `ReadableStream`. */
function iterate<T>(source: Source<T>): Chunks<T> {
  if (source instanceof ReadableStream) {
    const reader = source.getReader();
    return { next: () => reader.read() as Promise<IteratorResult<T>>, return: () => reader.cancel() };
  }
  const iterator = source[Symbol.asyncIterator]();
  return { next: () => iterator.next(), return: async () => iterator.return?.() };
}
