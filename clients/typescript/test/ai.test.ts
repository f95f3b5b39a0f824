import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QuotaExceededError } from '@headroom/client';
import { headroomMiddleware, type MiddlewareOptions } from '@headroom/client/ai';
import {
  generateText,
  type LanguageModelMiddleware,
  simulateReadableStream,
  streamText,
  wrapLanguageModel,
} from 'ai';
import { MockLanguageModelV3 } from 'ai/test';
import * as ai5 from 'ai5';
import { MockLanguageModelV2 } from 'ai5/test';
import { client, clientOfNobody, counts, newSubject } from './support/fixtures.ts';

type Stream = Awaited<ReturnType<MockLanguageModelV3['doStream']>>['stream'];
type Part = Stream extends ReadableStream<infer P> ? P : never;

const USAGE = {
  inputTokens: { total: 30, noCache: 30, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: 12, text: 12, reasoning: undefined },
};
const STOP = { unified: 'stop', raw: undefined } as const;
const TEXT: Part[] = [
  { type: 'text-start', id: '1' },
  { type: 'text-delta', id: '1', delta: 'Hello' },
  { type: 'text-end', id: '1' },
];

function modelOf(chunks: Part[] = [...TEXT, { type: 'finish', finishReason: STOP, usage: USAGE }]) {
  return new MockLanguageModelV3({
    doGenerate: {
      content: [{ type: 'text', text: 'Hello' }],
      finishReason: STOP,
      usage: USAGE,
      warnings: [],
    },
    doStream: async () => ({ stream: simulateReadableStream({ chunks }) }),
  });
}

function guarded(model: MockLanguageModelV3, subject: string, more: Partial<MiddlewareOptions> = {}) {
  const middleware = headroomMiddleware({
    headroom: client(),
    subject,
    metric: 'tokens',
    amount: (params) => params.maxOutputTokens ?? 4_096,
    whenAway: 'closed',
    ...more,
  });
  return wrapLanguageModel({ model, middleware });
}

test('generateText: the real tokens are committed', async () => {
  const subject = newSubject();

  const { text } = await generateText({
    model: guarded(modelOf(), subject),
    prompt: 'Hi',
    maxOutputTokens: 500,
  });

  assert.equal(text, 'Hello');
  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});

test('generateText: a refusal is thrown before the model is called', async () => {
  const model = modelOf();

  const call = generateText({ model: guarded(model, newSubject()), prompt: 'Hi', maxOutputTokens: 10_001 });

  await assert.rejects(call, QuotaExceededError);
  assert.equal(model.doGenerateCalls.length, 0);
});

test('generateText: an error of the model releases what was held', async () => {
  const subject = newSubject();
  const broken = new MockLanguageModelV3({ doGenerate: () => Promise.reject(new Error('the model broke')) });

  await assert.rejects(generateText({ model: guarded(broken, subject), prompt: 'Hi' }), /the model broke/);

  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 0 });
});

test('streamText: units are held while it streams, and the real tokens are committed', async () => {
  const subject = newSubject();
  const model = modelOf();
  let held = 0;
  const doStream = model.doStream;
  model.doStream = async (options) => {
    held = (await counts(subject, 'tokens')).reserved;
    return doStream(options);
  };

  const result = streamText({ model: guarded(model, subject), prompt: 'Hi', maxOutputTokens: 500 });

  assert.equal(await result.text, 'Hello');
  assert.equal(held, 500);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});

test('streamText: an error within the stream releases what was held', async () => {
  const subject = newSubject();
  const model = modelOf([...TEXT, { type: 'error', error: new Error('the model broke') }]);

  const result = streamText({ model: guarded(model, subject), prompt: 'Hi', onError: () => {} });
  await result.consumeStream();

  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 0 });
});

test('streamText: a provider that tells no tokens is charged as held', async () => {
  const subject = newSubject();
  const unknown = { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined };
  const usage = {
    inputTokens: unknown,
    outputTokens: { total: undefined, text: undefined, reasoning: undefined },
  };
  const model = modelOf([...TEXT, { type: 'finish', finishReason: STOP, usage }]);

  await streamText({ model: guarded(model, subject), prompt: 'Hi', maxOutputTokens: 500 }).text;

  assert.deepEqual(await counts(subject, 'tokens'), { used: 500, reserved: 0 });
});

test('streamText: a reader who stops pays for the text so far', async () => {
  const subject = newSubject();
  const model = modelOf();
  const usedWhenStopped = (text: string) => text.length;
  const { stream } = await guarded(model, subject, { usedWhenStopped }).doStream({ prompt: [] });

  const reader = stream.getReader();
  await reader.read();
  await reader.read();
  await reader.cancel();

  assert.deepEqual(await counts(subject, 'tokens'), { used: 'Hello'.length, reserved: 0 });
});

test('generateText: while nobody can decide, the call goes on uncounted or is not made, as was chosen', async () => {
  const headroom = clientOfNobody();
  const open = guarded(modelOf(), newSubject(), { headroom, whenAway: 'open' });
  const closed = guarded(modelOf(), newSubject(), { headroom, whenAway: 'closed' });

  const { text } = await generateText({ model: open, prompt: 'Hi' });

  assert.equal(text, 'Hello');
  await assert.rejects(generateText({ model: closed, prompt: 'Hi' }), { name: 'UnavailableError' });
});

test('version 5 of the SDK: the real tokens are committed', async () => {
  const subject = newSubject();
  const usage = { inputTokens: 30, outputTokens: 12, totalTokens: 42 };
  const model = new MockLanguageModelV2({
    doGenerate: async () => ({
      content: [{ type: 'text', text: 'Hello' }],
      finishReason: 'stop',
      usage,
      warnings: [],
    }),
  });
  // Who has version 5 installed gets its type: the declaration names the type of the installed package.
  const middleware: LanguageModelMiddleware = headroomMiddleware({
    headroom: client(),
    subject,
    metric: 'tokens',
    amount: 500,
    whenAway: 'closed',
  });
  const wrapped = ai5.wrapLanguageModel({
    model,
    middleware: middleware as unknown as ai5.LanguageModelMiddleware,
  });

  await ai5.generateText({ model: wrapped, prompt: 'Hi' });

  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});
