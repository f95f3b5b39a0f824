import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { EdgeVM } from '@edge-runtime/vm';
import { build } from 'esbuild';
import { counts, newSubject, SERVICE_KEY, SERVICE_URL } from './support/fixtures.ts';

const ENTRIES = ['index', 'next', 'express', 'fastify', 'hono', 'ai'];

/** What a browser would be sent. */
async function bundle(entry: string, globalName = 'bundled'): Promise<string> {
  const result = await build({
    entryPoints: [new URL(`../dist/esm/${entry}.js`, import.meta.url).pathname],
    bundle: true,
    minify: true,
    write: false,
    platform: 'browser',
    format: 'iife',
    globalName,
  });
  return result.outputFiles[0]?.text ?? '';
}

test('nothing is needed but what browsers, edge runtimes and Node have', async () => {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));

  assert.equal(manifest.dependencies, undefined);
  // Anything that is imported and not part of this package would fail the bundle.
  for (const entry of ENTRIES) assert.ok((await bundle(entry)).length > 0);
});

test('the client is small', async (context) => {
  for (const entry of ENTRIES) {
    const text = await bundle(entry);
    const zipped = gzipSync(text).byteLength;
    context.diagnostic(`${entry}: ${text.length} bytes, ${zipped} zipped`);
    assert.ok(zipped < 6_000, entry);
  }
});

test('the client runs in an edge runtime', async () => {
  const vm = new EdgeVM();
  vm.evaluate(await bundle('index', 'headroom'));
  const subject = newSubject();
  const call = `
    const client = new headroom.Headroom({ url: '${SERVICE_URL}', apiKey: '${SERVICE_KEY}' });
    client.consume({ subject: '${subject}', metric: 'messages' })`;

  const decision = await vm.evaluate<Promise<{ allowed: boolean }>>(call);

  assert.equal(decision.allowed, true);
  assert.equal((await counts(subject, 'messages')).used, 1);
});

test('CommonJS can require every part', async () => {
  const require = createRequire(import.meta.url);
  const exported = {
    '@headroom/client': 'Headroom',
    '@headroom/client/next': 'withQuotaCheck',
    '@headroom/client/express': 'quotaCheck',
    '@headroom/client/fastify': 'quotaCheck',
    '@headroom/client/hono': 'quotaCheck',
    '@headroom/client/ai': 'headroomMiddleware',
  };

  for (const [part, name] of Object.entries(exported)) {
    assert.equal(typeof require(part)[name], 'function', part);
  }
});
