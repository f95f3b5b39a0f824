// The real service, with a Redis and a Postgres of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Service {
  url: string;
  key: string;
  stop: () => Promise<void>;
}

/** The line that `headroom dev` prints when it is ready. */
interface Ready {
  url: string;
  admin_key: string;
  backend_key: string;
}

const BINARY =
  process.env.HEADROOM_BIN ?? new URL('../../../../target/debug/headroom', import.meta.url).pathname;

export async function startService(): Promise<Service> {
  const folder = await mkdtemp(join(tmpdir(), 'headroom-client-'));
  // Postgres does not run as root: its own account has to reach the folder.
  await chmod(folder, 0o755);
  const child = spawn(BINARY, ['dev', '--listen', '127.0.0.1:0', '--data-dir', folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ready = await firstLine(child);
  await putCatalogue(ready);
  const stop = async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
    await rm(folder, { recursive: true, force: true });
  };
  return { url: ready.url, key: ready.backend_key, stop };
}

async function firstLine(child: ChildProcess): Promise<Ready> {
  if (!child.stdout) throw new Error('no stdout');
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`${BINARY} ended with ${code}`);
  });
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), failed]);
  failed.catch(() => undefined);
  return JSON.parse(line);
}

async function putCatalogue(ready: Ready): Promise<void> {
  const reply = await fetch(`${ready.url}/v1/catalogue`, {
    method: 'PUT',
    headers: {
      authorization: `Bearer ${ready.admin_key}`,
      'content-type': 'application/json',
      'if-match': '*',
    },
    body: await readFile(new URL('../catalogue.json', import.meta.url)),
  });
  if (!reply.ok) throw new Error(`the catalogue was refused: ${await reply.text()}`);
}
