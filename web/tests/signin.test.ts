import { readdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startWorld, visit } from "./visit.ts";
import type { World } from "./visit.ts";

const SITE = fileURLToPath(new URL("../dist/site", import.meta.url));
let world: World;

beforeAll(async () => (world = await startWorld()));
afterAll(() => world?.stop());

test("a wrong key is refused, the right one signs in, and no address holds it", async () => {
  const page = await visit(world, "/overview", { signedIn: false });
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.getByLabel("API key").fill("hr_live_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("This key is not known").waitFor();

  await page.getByLabel("API key").fill(world.service.adminKey);
  await page.getByRole("button", { name: "Sign in" }).click();

  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  expect([page.url(), ...asked].filter((url) => url.includes(world.service.adminKey))).toEqual([]);
  expect(await page.evaluate(() => Object.keys(localStorage))).toEqual([]);
});

test("the key lives as long as the tab: a reload stays, a sign-out goes, and another tab has to sign in", async () => {
  const page = await visit(world, "/overview", { signedIn: false });
  await page.getByLabel("API key").fill(world.service.adminKey);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();

  const other = await page.context().newPage();
  await other.goto(`${world.service.url}/dashboard/`);
  await other.getByLabel("API key").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();

  await page.getByText("You have signed out.").waitFor();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
});

test("a key that may only read sees what it may, and is told what it may not", async () => {
  const page = await visit(world, "/alerts", { key: world.service.backendKey });
  await page.getByRole("alert").first().getByText("This could not be loaded").waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("Nobody has used 80% of a limit.").waitFor();
});

test("nothing is asked of another host and the policy is never broken", async () => {
  const page = await visit(world, "/overview", { signedIn: false });
  const wrong: string[] = [];
  page.on("request", (request) => new URL(request.url()).origin === world.service.url || wrong.push(request.url()));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(error.message));
  await page.getByLabel("API key").fill(world.service.adminKey);
  await page.keyboard.press("Enter");
  for (const name of ["Subjects", "Plans", "Alerts", "Webhooks", "Keys", "Audit", "Operations", "Overview"]) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { name, level: 1 }).waitFor();
    await page.waitForLoadState("load");
  }
  expect(wrong).toEqual([]);
});

test("the first page is under 300 kB compressed, and is painted within a second", async () => {
  const files = readdirSync(SITE, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".gz"));
  const bytes = files.reduce((sum, name) => sum + statSync(`${SITE}/${name}`).size, 0);
  expect(files.length).toBeGreaterThanOrEqual(3);
  expect(bytes).toBeLessThan(300_000);

  // The browser's own start is none of the page's: a profile of its own has an empty cache, but a browser that runs.
  await (await visit(world, "/overview", { signedIn: false })).context().close();
  const page = await visit(world, "/overview", { signedIn: false });
  await page.getByLabel("API key").waitFor();
  const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity);
  console.info(`${bytes} bytes compressed, first contentful paint after ${Math.round(painted)} ms`);
  expect(painted).toBeLessThan(1_000);
});
