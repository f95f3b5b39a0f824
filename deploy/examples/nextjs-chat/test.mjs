// The example as a whole: the real service with the catalogue beside this file, the app as `next build` and
// `next start` run it, and users.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

const here = (path) => new URL(path, import.meta.url).pathname;
const binary = process.env.HEADROOM_BIN ?? here('../../../target/debug/headroom');
const data = mkdtempSync(join(tmpdir(), 'headroom-example-'));
// Postgres does not run as root: its own account has to reach the folder.
chmodSync(data, 0o755);
const running = [];
let url;

/** Starts a program and gives its first line. */
async function start(command, args, env) {
  const child = spawn(command, args, { cwd: here('.'), env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  running.unshift(child);
  const [line] = await once(createInterface(child.stdout), 'line');
  return line;
}

before(async () => {
  const settings = { HEADROOM_QUOTA_CATALOGUE: here('catalogue.toml') };
  const dev = ['dev', '--listen', '127.0.0.1:0', '--data-dir', data];
  const service = JSON.parse(await start(binary, dev, settings));
  const port = await freePort();
  const env = { HEADROOM_URL: service.url, HEADROOM_API_KEY: service.backend_key, NEXT_TELEMETRY_DISABLED: '1' };
  await start(process.execPath, [here('node_modules/next/dist/bin/next'), 'start', '--port', port], env);
  url = `http://127.0.0.1:${port}`;
  await answered(url);
});

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return String(port);
}

/** Waits for an answer, for at most 20 s: `next start` says its first line before it listens. */
async function answered(address) {
  for (let tries = 0; tries < 200; tries += 1) {
    const isThere = await fetch(address).then((reply) => reply.ok, () => false);
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('Next.js does not answer');
}

after(async () => {
  for (const child of running) {
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  rmSync(data, { recursive: true, force: true });
});

const say = (user, prompt, key) =>
  fetch(`${url}/api/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', cookie: `user=${user}`, ...(key && { 'x-idempotency-key': key }) },
    body: JSON.stringify({ prompt }),
  });

async function used(user) {
  const { limits } = await (await fetch(`${url}/api/usage`, { headers: { cookie: `user=${user}` } })).json();
  return Object.fromEntries(limits.map(({ metric, used, reserved }) => [metric, used + reserved]));
}

test('a message is answered, and charged with the tokens that it took', async () => {
  const reply = await say('u_1', 'good morning');

  assert.equal(await reply.text(), 'You said: good morning ');
  assert.match(reply.headers.get('ratelimit'), /^"messages-month";r=4;/);
  assert.deepEqual(await used('u_1'), { messages: 1, tokens: 4 });
});

test('the sixth message of a month is refused, with where there is more', async () => {
  for (const prompt of ['1', '2', '3', '4', '5']) await (await say('u_2', prompt)).text();

  const reply = await say('u_2', '6');

  assert.equal(reply.status, 429);
  assert.equal((await reply.json()).upgrade_url, 'https://chat.example/upgrade');
  assert.equal((await used('u_2')).messages, 5);
});

test('a message that is sent again under its key is charged once', async () => {
  for (const _ of [1, 2]) await (await say('u_3', 'hello', 'click-1')).text();

  assert.equal((await used('u_3')).messages, 1);
});

test('a message that the model does not answer costs nothing', async () => {
  const reply = await say('u_4', 'break');

  assert.equal(reply.status, 502);
  assert.deepEqual(await used('u_4'), { messages: 0, tokens: 0 });
});

test('the page is there', async () => {
  assert.match(await (await fetch(url)).text(), /<h1>Chat<\/h1>/);
});
