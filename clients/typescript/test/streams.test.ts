import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  QuotaExceededError,
  type StreamOptions,
  streamWithReservation,
  UnavailableError,
} from '@headroom/client';
import { client, clientOfNobody, counts, eventually, newSubject, SERVICE_URL } from './support/fixtures.ts';
import { type Chunk, says, textOf } from './support/model.ts';
import { proxy } from './support/proxy.ts';

function optionsOf(subject: string, start: StreamOptions<Chunk>['start']): StreamOptions<Chunk> {
  const used = (chunk: Chunk) => chunk.usage?.total_tokens;
  return { headroom: client(), subject, metric: 'tokens', amount: 1_000, whenAway: 'closed', start, used };
}

test('units are held before the model is called, and the real tokens are committed', async () => {
  const subject = newSubject();
  let held = 0;
  const start = async () => {
    held = (await counts(subject, 'tokens')).reserved;
    return says('Hello', ' there');
  };

  const text = await textOf(await streamWithReservation(optionsOf(subject, start)));

  assert.deepEqual([text, held], ['Hello there', 1_000]);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});

test('a refusal comes before the model is called', async () => {
  let calls = 0;
  const start = () => {
    calls += 1;
    return says();
  };

  const begun = streamWithReservation({ ...optionsOf(newSubject(), start), amount: 10_001 });

  await assert.rejects(begun, (error) => error instanceof QuotaExceededError && error.status === 429);
  assert.equal(calls, 0);
});

test('an error of the model releases what was held, before and within the stream', async () => {
  const subject = newSubject();
  const before = () => Promise.reject(new Error('no model'));
  async function* within(): AsyncGenerator<Chunk, void, undefined> {
    yield { text: 'Hel', usage: { total_tokens: 7 } };
    throw new Error('the model broke');
  }

  await assert.rejects(streamWithReservation(optionsOf(subject, before)), /no model/);
  const stream = await streamWithReservation(optionsOf(subject, within));
  await assert.rejects(textOf(stream), /the model broke/);

  assert.deepEqual(await counts(subject, 'tokens'), { used: 0, reserved: 0 });
});

test('a hold is extended while the model takes its time', async () => {
  const subject = newSubject();
  let finish = () => {};
  const thinking = new Promise<void>((resolve) => {
    finish = resolve;
  });
  async function* start(): AsyncGenerator<Chunk, void, undefined> {
    await thinking;
    yield* says('Hm');
  }
  const stream = await streamWithReservation({ ...optionsOf(subject, start), ttlS: 4 });
  const read = textOf(stream);
  const begun = Date.now();

  await eventually('the hold outlived its first time', () => Date.now() - begun > 5_500);
  assert.equal((await counts(subject, 'tokens')).reserved, 1_000);
  finish();
  await read;

  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});

test('a hold is extended no more after its life, and ends by itself', async () => {
  const subject = newSubject();
  const start = () => new ReadableStream<Chunk>();

  await streamWithReservation({ ...optionsOf(subject, start), ttlS: 1, lifeS: 1 });

  await eventually('the hold ended', async () => (await counts(subject, 'tokens')).reserved === 0);
  assert.equal((await counts(subject, 'tokens')).used, 0);
});

test('a reader who leaves pays for what was told, and for all that was held when nothing was', async () => {
  const [told, untold] = [newSubject(), newSubject()];
  let stopped = 0;
  const start = (usage?: { total_tokens: number }) => (signal: AbortSignal) => {
    signal.addEventListener('abort', () => {
      stopped += 1;
    });
    return new ReadableStream<Chunk>({
      pull: (controller) => controller.enqueue({ text: '.', ...(usage && { usage }) }),
    });
  };

  for (const [subject, usage] of [
    [told, { total_tokens: 17 }],
    [untold, undefined],
  ] as const) {
    const reader = (await streamWithReservation(optionsOf(subject, start(usage)))).getReader();
    await reader.read();
    await reader.cancel();
  }

  assert.deepEqual(await counts(told, 'tokens'), { used: 17, reserved: 0 });
  assert.deepEqual(await counts(untold, 'tokens'), { used: 1_000, reserved: 0 });
  assert.equal(stopped, 2);
});

test('a caller whose signal fires has nothing for free', async () => {
  const subject = newSubject();
  const stop = new AbortController();
  async function* start(signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
    yield { text: 'Hel', usage: { total_tokens: 9 } };
    stop.abort(new Error('stopped'));
    signal.throwIfAborted();
  }

  const stream = await streamWithReservation({
    ...optionsOf(subject, () => start(stop.signal)),
    signal: stop.signal,
  });
  await assert.rejects(textOf(stream), /stopped/);

  assert.deepEqual(await counts(subject, 'tokens'), { used: 9, reserved: 0 });
});

test('while nobody can decide, the work goes on uncounted or is not begun, as was chosen', async () => {
  const headroom = clientOfNobody();
  const options = { ...optionsOf(newSubject(), () => says('Hello')), headroom };

  await assert.rejects(streamWithReservation(options), UnavailableError);
  const stream = await streamWithReservation({ ...options, whenAway: 'open' });

  assert.equal(await textOf(stream), 'Hello');
  assert.deepEqual(headroom.lost, ['work was begun without a hold']);
});

test('a commit that is lost does not break what was delivered, and is reported', async () => {
  await using network = await proxy('pass', { status: 503, retryAfter: '3600' });
  const headroom = client({ url: network.url });

  const stream = await streamWithReservation({ ...optionsOf(newSubject(), () => says('Hello')), headroom });

  assert.equal(await textOf(stream), 'Hello');
  assert.deepEqual(headroom.lost, ['the commit of a reservation was lost']);
  assert.notEqual(network.url, SERVICE_URL);
});

test('a commit whose reply is lost is charged once', async () => {
  await using network = await proxy('pass', 'swallow the reply', 'pass');
  const headroom = client({ url: network.url });
  const subject = newSubject();

  const stream = await streamWithReservation({ ...optionsOf(subject, () => says('Hello')), headroom });
  await textOf(stream);

  assert.equal(network.keys.length, 3);
  assert.deepEqual(headroom.lost, []);
  assert.deepEqual(await counts(subject, 'tokens'), { used: 42, reserved: 0 });
});
