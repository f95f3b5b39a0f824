import { QuotaExceededError } from '@headroom/client';
import { headroomMiddleware } from '@headroom/client/ai';
import { streamText, wrapLanguageModel } from 'ai';
import { model } from '../../../lib/model';
import { headroom, subjectOf, withQuotaCheck } from '../../../lib/quota';

/** The most tokens that an answer may take. */
const TOKENS_MAX = 500;

// Runs when the message is charged, which it is before the handler; else the caller gets a 429 without it.
export const POST = withQuotaCheck(
  async (request, { quota }) => {
    const { prompt } = await request.json();
    let failure: unknown;
    const result = streamText({
      model: wrapLanguageModel({
        model,
        middleware: headroomMiddleware({
          headroom,
          subject: subjectOf(request),
          metric: 'tokens',
          amount: TOKENS_MAX,
          whenAway: 'closed',
        }),
      }),
      prompt,
      maxOutputTokens: TOKENS_MAX,
      maxRetries: 0,
      abortSignal: request.signal,
      onError: ({ error }) => {
        failure = error;
      },
    });
    const text = result.textStream.getReader();
    const first = await text.read();
    if (failure !== undefined) {
      // The message came to nothing: it is given back.
      if (quota.eventId && !quota.repeated) await headroom.refund(quota.eventId);
      const isRefused = failure instanceof QuotaExceededError;
      return Response.json({ title: isRefused ? 'No tokens left' : 'No answer' }, { status: isRefused ? 429 : 502 });
    }
    return new Response(restOf(first, text).pipeThrough(new TextEncoderStream()), {
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  },
  { metric: 'messages' },
);

/** A stream whose first chunk was read already. */
function restOf(
  first: ReadableStreamReadResult<string>,
  rest: ReadableStreamDefaultReader<string>,
): ReadableStream<string> {
  let next = Promise.resolve(first);
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await next;
      if (done) return controller.close();
      controller.enqueue(value);
      next = rest.read();
    },
    cancel: (reason) => rest.cancel(reason),
  });
}
