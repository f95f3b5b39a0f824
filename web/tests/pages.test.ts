import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { overflows, violations } from "../../clients/react/tests/support/browser.ts";
import { startWorld, visit } from "./visit.ts";
import type { World } from "./visit.ts";

let world: World;

beforeAll(async () => (world = await startWorld({ HEADROOM_WEBHOOKS_ALLOW_PRIVATE: "true" })));
afterAll(() => world?.stop());

/** An HTTP server that keeps what it is sent. */
async function receiver() {
  const sent: { headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += String(part)));
    request.on("end", () => (sent.push({ headers: request.headers, body }), response.writeHead(204).end()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { url: `http://127.0.0.1:${port}/hook`, sent, stop: () => server.close() };
}

test("a webhook is made, its secret is shown once, a delivery is logged and can be sent again", async () => {
  const hook = await receiver();
  const page = await visit(world, "/webhooks");
  await page.getByRole("button", { name: "New webhook" }).click();
  await page.getByLabel("Address").fill(hook.url);
  await page.getByLabel("quota-denied").check();
  await page.getByRole("button", { name: "Make webhook" }).click();
  expect(await page.locator(".secret").textContent()).toMatch(/^whsec_/);
  await page.getByRole("link", { name: hook.url }).click();
  await page.getByText("Nothing was sent yet").waitFor();
  expect(await page.locator(".secret").count()).toBe(0);

  await world.service.consume("user:hooked", 101);
  const deliveries = page.getByRole("region", { name: "Deliveries" });
  await deliveries.getByText("delivered").waitFor();
  await deliveries.getByText("204").waitFor();
  await deliveries.getByRole("button", { name: /Send again/ }).click();

  await expect.poll(() => hook.sent.length, { timeout: 10_000 }).toBe(2);
  expect(hook.sent[0]?.headers["webhook-id"]).toBe(hook.sent[1]?.headers["webhook-id"]);
  expect(JSON.parse(hook.sent[1]?.body ?? "{}").subject).toBe("user:hooked");
  hook.stop();
});

test("a rule that fires is shown while the page is open, and can be turned off and on", async () => {
  const page = await visit(world, "/alerts");
  const row = page.getByRole("row").filter({ hasText: "High denial rate" }).first();
  await row.getByText("quiet").waitFor();
  for (let count = 0; count < 6; count += 1) await world.service.consume("user:abuser", 101);
  await row.getByText(/fired/).waitFor();
  await page.getByRole("region", { name: "At risk" }).getByText("user:abuser").waitFor();

  await page.getByRole("button", { name: "Turn off high_denial_rate" }).click();
  await row.getByText("off", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByRole("button", { name: "Turn off high_denial_rate" }).waitFor();
});

test("a rule is made, edited and removed", async () => {
  const page = await visit(world, "/alerts");
  await page.getByRole("button", { name: "New rule" }).click();
  await page.getByLabel("Name").fill("many_refusals");
  await page.getByLabel("Fires from").fill("50");
  await page.getByRole("button", { name: "Save rule" }).click();
  const row = page.getByRole("row").filter({ hasText: "Many refusals" });
  await row.getByText("50").waitFor();
  await page.getByRole("button", { name: "Edit many_refusals" }).click();
  await page.getByLabel("Fires from").fill("75");
  await page.getByRole("button", { name: "Save rule" }).click();
  await row.getByText("75").waitFor();
  await page.getByRole("button", { name: "Remove many_refusals" }).click();
  await row.waitFor({ state: "detached" });
});

test("the plan editor shows who would be over before it saves, and undo brings the plan back", async () => {
  await world.service.consume("user:over", 60);
  await world.service.consume("user:under", 20);
  await world.service.call("PUT", "/v1/subjects/user:elsewhere", { plan: "starter" }, { "If-None-Match": "*" });
  await world.service.consume("user:elsewhere", 70);
  const page = await visit(world, "/plans/free");
  expect(await page.getByRole("button", { name: "Save…" }).isDisabled()).toBe(true);
  await page.getByLabel("Most units of limit 1").fill("50");
  const over = page.getByRole("region", { name: "Who would be over" });
  await over.getByText("user:over").waitFor();
  expect(await over.getByText("user:under").count()).toBe(0);
  expect(await over.getByText("user:elsewhere").count()).toBe(0);

  await page.getByRole("button", { name: "Save…" }).click();
  await page.getByLabel("Reason").fill("costs");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByText("Plan free saved.").waitFor();
  expect(await world.service.consume("user:over", 1)).toBe(429);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("Undone: Plan free saved.").waitFor();
  expect(await world.service.consume("user:over", 1)).toBe(200);
});

test("a key is made, shown once, works, and is refused once it is revoked", async () => {
  const page = await visit(world, "/keys");
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name").fill("reports");
  await page.getByRole("checkbox", { name: /^read/ }).check();
  await page.getByRole("button", { name: "Make key" }).click();
  const key = await page.locator(".secret").textContent();
  const ask = () => fetch(`${world.service.url}/v1/catalogue`, { headers: { Authorization: `Bearer ${key}` } });
  expect((await ask()).status).toBe(200);

  const row = page.getByRole("row").filter({ hasText: "reports" });
  await row.getByRole("button", { name: /Revoke/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await row.getByText("revoked").waitFor();

  expect((await ask()).status).toBe(401);
});

test("operations shows the stores, the flush lag and what should stay at zero", async () => {
  const page = await visit(world, "/operations");
  await page.getByText("events in Redis and not yet in Postgres").waitFor();
  await page.getByText("up", { exact: true }).nth(1).waitFor();
  await page.getByRole("row").filter({ hasText: /^Recoveries/ }).getByText("fine").waitFor();
});

describe("every page", () => {
  const PATHS = ["/overview", "/subjects", "/subjects/user%3Aseen", "/plans", "/plans/starter", "/alerts", "/webhooks", "/keys", "/audit", "/operations"];

  beforeAll(async () => {
    await world.service.consume("user:seen", 97);
    await world.service.consume("user:seen", 5);
  });

  test.each(PATHS)("%s has nothing that axe finds, in light and in dark", async (path) => {
    for (const dark of [false, true]) {
      const page = await visit(world, path, { dark });
      await page.getByRole("heading", { level: 2 }).first().waitFor();
      await page.locator(".hr-skeleton").first().waitFor({ state: "detached" });
      expect(await violations(page)).toEqual([]);
      await page.context().close();
    }
  });

  test.each(PATHS)("%s fits 400 pixels", async (path) => {
    const page = await visit(world, path, { width: 400 });
    await page.getByRole("heading", { level: 2 }).first().waitFor();
    await page.locator(".hr-skeleton").first().waitFor({ state: "detached" });
    expect(await overflows(page)).toBe(false);
  });
});

test("the dialogs have nothing that axe finds", async () => {
  const page = await visit(world, "/subjects/user%3Aseen");
  for (const name of ["Reset usage", "Grant units", "Change plan", "Set own limit"]) {
    await page.getByRole("button", { name, exact: true }).first().click();
    await page.getByRole("dialog").waitFor();
    expect(await violations(page), name).toEqual([]);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  }
});

test("while the service is away the page says so, keeps what it knows, and recovers", async () => {
  const page = await visit(world, "/subjects/user%3Aseen");
  await page.getByText("97 of 100").waitFor();
  await page.route("**/usage", (route) => route.abort());
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.getByText("This may be out of date").waitFor();
  expect(await page.getByText("97 of 100").isVisible()).toBe(true);
  await page.unroute("**/usage");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("This may be out of date").waitFor({ state: "detached" });
});
