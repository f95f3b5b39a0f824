/** Writes docs/images: `npm run --prefix web screenshots`. Days before today come from a clock that is set back. */

import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, test } from "vitest";
import type { Page } from "../../clients/react/tests/support/browser.ts";
import { startService } from "../../clients/react/tests/support/service.ts";
import type { Service } from "../../clients/react/tests/support/service.ts";
import { startWorld, visit } from "../tests/visit.ts";
import type { World } from "../tests/visit.ts";

const IMAGES = fileURLToPath(new URL("../../docs/images", import.meta.url));
const DAY_MS = 86_400_000;
/** Days before today with usage, and how busy each was. */
const PAST: readonly (readonly [day: number, weight: number])[] = [[23, 3], [18, 5], [13, 4], [9, 6], [6, 5], [4, 8], [2, 6], [1, 9]];
const PEOPLE = ["user:ada", "user:lin", "user:noor", "user:max", "org:acme/user:kim", "org:acme/user:ravi", "user:eva", "user:tom"];
const LATE = ["user:kai", "user:mia", "user:jun"];
const MODELS = ["claude-sonnet-4", "gemini-2.0-flash", "gpt-4o"];

let dir: string;
let world: World;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "headroom-shots-"));
  for (const [day, weight] of PAST) {
    const service = await startService({ HEADROOM_CLOCK_OFFSET_MS: String(-day * DAY_MS) }, dir);
    await chat(service, day, weight);
    await service.stop();
  }
  world = await startWorld({ HEADROOM_WEBHOOKS_ALLOW_PRIVATE: "true" }, dir);
  await chat(world.service, 0, 7);
  await world.service.call("POST", "/v1/subjects/user:ada/grants", { metric: "messages", amount: 50, note: "beta tester" }, { "X-Reason": "beta tester" });
  await world.service.call("POST", "/v1/reservations", { subject: "user:ada", metric: "messages", amount: 3, ttl_s: 600 });
}, 600_000);

afterAll(async () => {
  await world?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** A day of chatting: the same each time. */
async function chat(service: Service, day: number, weight: number): Promise<void> {
  for (const [place, subject] of PEOPLE.entries()) {
    const times = Math.max(0, weight - place + (day % 3));
    for (let count = 0; count < times; count += 1) {
      const model = MODELS[(count + place) % MODELS.length];
      await service.call("POST", "/v1/consume?on_deny=200", { subject, model });
    }
  }
}

type Shot = { readonly width: number; readonly dark: boolean; readonly live?: boolean };

async function shoot(name: string, path: string, options: Shot, act?: (page: Page) => Promise<void>): Promise<void> {
  const page = await visit(world, path, { height: options.width < 500 ? 860 : 900, ...options });
  await page.locator(".hr-card").first().waitFor();
  await page.locator(".hr-skeleton").first().waitFor({ state: "detached" });
  if (options.live) {
    await page.getByText("Live", { exact: true }).first().waitFor();
    await chat(world.service, 1, 3);
    // The feed tells of ten refusals of a subject in a minute.
    const refused = LATE.shift() ?? "user:zoe";
    await world.service.consume(refused, 96);
    await world.service.consume(refused, 9);
    await page.locator('[data-type="quota-denied"]').filter({ hasText: refused }).waitFor();
    await page.waitForLoadState("networkidle", { timeout: 2_000 }).catch(() => undefined);
  }
  await act?.(page);
  const file = `${IMAGES}/${name}-${options.width}-${options.dark ? "dark" : "light"}.png`;
  await page.screenshot({ path: file, animations: "disabled" });
  // 256 colours are enough for a page, and a third of the bytes.
  execFileSync("pngquant", ["--force", "--strip", "--quality", "60-95", "--output", file, file]);
  await page.context().close();
}

const SIZES = [400, 1440].flatMap((width) => [{ width, dark: false }, { width, dark: true }]);

test.each(SIZES)("overview $width dark $dark", (size) => shoot("overview", "/overview", { ...size, live: true }));
test.each(SIZES)("subject $width dark $dark", (size) => shoot("subject", "/subjects/user%3Aada", size));
test.each([{ width: 1440, dark: false }])("plans", (size) =>
  shoot("plans", "/plans/free", size, async (page) => {
    await page.getByLabel("Most units of limit 1").fill("30");
    await page.getByText("of this plan would be over").waitFor();
  }));
test.each([{ width: 1440, dark: false }])("alerts", (size) => shoot("alerts", "/alerts", size));
test.each([{ width: 1440, dark: false }])("signin", async ({ width, dark }) => {
  const page = await visit(world, "/overview", { width, height: 700, dark, signedIn: false });
  await page.getByLabel("API key").waitFor();
  await page.screenshot({ path: `${IMAGES}/signin-${width}-light.png` });
  await page.context().close();
});
