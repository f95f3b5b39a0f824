// Starts the real service for all test files, runs them, and stops it. Arguments are test files; none is all.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { startService } from './support/service.ts';

const here = new URL('.', import.meta.url).pathname;
const all = (await readdir(here)).filter((name) => name.endsWith('.test.ts')).map((name) => here + name);
const files = process.argv.length > 2 ? process.argv.slice(2) : all;

const service = await startService();
try {
  const options = ['--import', 'tsx', '--test', '--test-concurrency=2', '--test-timeout=300000'];
  const runner = spawn(process.execPath, [...options, ...files], {
    stdio: 'inherit',
    env: { ...process.env, HEADROOM_URL: service.url, HEADROOM_API_KEY: service.key },
  });
  const [code] = await once(runner, 'exit');
  process.exitCode = code ?? 1;
} finally {
  await service.stop();
}
