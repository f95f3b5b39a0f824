import type { LanguageModelMiddleware } from 'ai';
import { hold, type Reservation, type ReservationOptions } from './reservation.js';
import { settled } from './stream.js';

type Wrap<K extends 'wrapGenerate' | 'wrapStream'> = NonNullable<LanguageModelMiddleware[K]>;
type Params = Parameters<Wrap<'wrapStream'>>[0]['params'];
type Part = Awaited<ReturnType<Wrap<'wrapStream'>>>['stream'] extends ReadableStream<infer P> ? P : never;

/** What is held for a call of a model. */
export interface MiddlewareOptions extends Omit<ReservationOptions, 'amount' | 'idempotencyKey' | 'signal'> {
  /** The most units that a call may take, such as `(params) => params.maxOutputTokens ?? 4096`. */
  amount: number | ((params: Params) => number);
  /** The units that a call took; by default its tokens, input and output together. `null`: unknown, all is charged. */
  used?: ((usage: Tokens) => number | null) | undefined;
  /** The units of a call that its reader stopped, from the text so far; by default all that was held is charged. */
  usedWhenStopped?: ((text: string) => number) | undefined;
}

/** What a call took, as far as the provider says. */
export interface Tokens {
  input: number | null;
  output: number | null;
}

/**
 * Middleware for the AI SDK (`wrapLanguageModel`): holds units before each call of the model, holds on while it
 * streams, commits the real tokens, and releases on error. A refusal is thrown as `QuotaExceededError`.
 */
export function headroomMiddleware(options: MiddlewareOptions): LanguageModelMiddleware {
  return {
    specificationVersion: 'v3',
    wrapGenerate: async ({ doGenerate, params }) => {
      const reservation = await holdFor(options, params);
      try {
        const result = await doGenerate();
        await reservation.commit(usedBy(options, result.usage) ?? reservation.amount);
        return result;
      } catch (error) {
        await (params.abortSignal?.aborted ? reservation.commit(reservation.amount) : reservation.release());
        throw error;
      }
    },
    wrapStream: async ({ doStream, params }) => {
      const reservation = await holdFor(options, params);
      try {
        const result = await doStream();
        const used = counter(options, reservation);
        return {
          ...result,
          stream: settled(result.stream, reservation, { used, signal: params.abortSignal }),
        };
      } catch (error) {
        await reservation.release();
        throw error;
      }
    },
  };
}

function holdFor(options: MiddlewareOptions, params: Params): Promise<Reservation> {
  const { amount, used: _, usedWhenStopped: __, ...rest } = options;
  const most = typeof amount === 'function' ? amount(params) : amount;
  return hold({ ...rest, amount: most, signal: params.abortSignal });
}

/** Counts a stream's units: as it goes when the caller can tell from the text, and exactly at its end. */
function counter(
  options: MiddlewareOptions,
  reservation: Reservation,
): (part: Part) => number | null | undefined {
  let text = '';
  return (part) => {
    if (part.type === 'error') void reservation.release();
    if (part.type === 'finish') return usedBy(options, part.usage) ?? reservation.amount;
    const isText = part.type === 'text-delta' || part.type === 'reasoning-delta';
    if (!isText || !options.usedWhenStopped) return undefined;
    text += part.delta;
    return options.usedWhenStopped(text);
  };
}

function usedBy(options: MiddlewareOptions, usage: unknown): number | null {
  return (options.used ?? total)(tokensOf(usage));
}

function total({ input, output }: Tokens): number | null {
  return input === null && output === null ? null : (input ?? 0) + (output ?? 0);
}

/** The tokens of a usage; version 5 of the SDK has numbers where version 6 has objects. */
function tokensOf(usage: unknown): Tokens {
  const { inputTokens, outputTokens } = (usage ?? {}) as { inputTokens?: unknown; outputTokens?: unknown };
  return { input: countOf(inputTokens), output: countOf(outputTokens) };
}

function countOf(tokens: unknown): number | null {
  const count = typeof tokens === 'object' && tokens !== null && 'total' in tokens ? tokens.total : tokens;
  return typeof count === 'number' && Number.isFinite(count) ? count : null;
}
