// What every test file needs: a client of the service that `run.ts` started, and subjects of its own.
import { Headroom, type HeadroomOptions } from '@headroom/client';

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run the tests with npm test`);
  return value;
}

export const SERVICE_URL = given('HEADROOM_URL');
export const SERVICE_KEY = given('HEADROOM_API_KEY');

/** A client; what it reports as lost is kept in `lost`. */
export function client(options: Partial<HeadroomOptions> = {}): Headroom & { lost: string[] } {
  const lost: string[] = [];
  const onLost = (_: unknown, what: string) => void lost.push(what);
  // A machine that is busy with other tests is slow, not away.
  const patience = { timeoutMs: 10_000, deadlineMs: 30_000 };
  const headroom = new Headroom({ url: SERVICE_URL, apiKey: SERVICE_KEY, onLost, ...patience, ...options });
  return Object.assign(headroom, { lost });
}

/** A subject that no other test knows. */
export function newSubject(): string {
  return `user:${crypto.randomUUID()}`;
}

/** What is used and held of a metric. */
export async function counts(subject: string, metric: string): Promise<{ used: number; reserved: number }> {
  const { limits } = await client().usage(subject, { metric });
  return { used: limits[0]?.used ?? 0, reserved: limits[0]?.reserved ?? 0 };
}

/** A client whose service is not there. */
export function clientOfNobody(): Headroom & { lost: string[] } {
  return client({ url: 'http://127.0.0.1:1', maxAttempts: 1 });
}

/** Waits until something is so; the only loop that waits by the clock, for at most 20 s. */
export async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it never came to this: ${what}`);
}
