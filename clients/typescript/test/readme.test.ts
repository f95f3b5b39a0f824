import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { transformSync } from 'esbuild';
import { counts, SERVICE_KEY, SERVICE_URL } from './support/fixtures.ts';

test('the first ten lines of the README come to a decision', async () => {
  const folder = new URL('..', import.meta.url);
  const [, block = ''] =
    /```ts\n([\s\S]*?)```/.exec(readFileSync(new URL('README.md', folder), 'utf8')) ?? [];
  const { code } = transformSync(block.replace('http://127.0.0.1:8080', SERVICE_URL), { loader: 'ts' });
  const before = await counts('user:u_1', 'messages');

  const env = { ...process.env, HEADROOM_API_KEY: SERVICE_KEY };
  const said = execFileSync(process.execPath, ['--input-type=module', '--eval', code], { cwd: folder, env });

  assert.ok(block.trim().split('\n').length <= 10);
  assert.match(said.toString(), /^send it;/);
  assert.equal((await counts('user:u_1', 'messages')).used, before.used + 1);
});
