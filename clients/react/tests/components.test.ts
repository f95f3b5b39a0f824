import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { createServer } from "vite";
import type { ViteDevServer } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launch, overflows, violations } from "./support/browser.ts";
import { startService } from "./support/service.ts";
import type { Service } from "./support/service.ts";

let service: Service;
let stage: ViteDevServer;
let browser: Browser;

beforeAll(async () => {
  [service, browser] = await Promise.all([startService(), launch()]);
  stage = await createServer({
    root: fileURLToPath(new URL("stage", import.meta.url)),
    configFile: false,
    logLevel: "error",
    esbuild: { jsx: "automatic" },
    server: { port: 0, host: "127.0.0.1", proxy: { "/v1": service.url } },
  });
  await stage.listen();
});

afterAll(async () => {
  await Promise.all([browser?.close(), stage?.close()]);
  await service?.stop();
});

interface Visit {
  readonly width?: number;
  readonly dark?: boolean;
  readonly key?: string;
}

async function visit(subject: string, { width = 1000, dark = false, key = service.adminKey }: Visit = {}): Promise<Page> {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: dark ? "dark" : "light",
    locale: "en-GB",
  });
  const page = await context.newPage();
  await page.addInitScript((known) => Object.assign(window, { stage: known }), { key, subject, chosen: [] });
  await page.goto(stage.resolvedUrls?.local[0] ?? "");
  return page;
}

const meter = (page: Page, limit: string) => page.locator(`[data-limit="${limit}"]`);

describe("UsageDashboard", () => {
  test("shows usage against limits with bars, statuses and the premium models", async () => {
    await service.consume("user:shown", 45);
    await service.consume("user:shown", 19, "premium_messages");
    const page = await visit("user:shown");

    await meter(page, "messages-month").getByText("45 of 100").waitFor();
    expect(await page.getByRole("meter", { name: "Messages this month", exact: true }).getAttribute("aria-valuenow")).toBe("45");
    expect(await page.getByRole("meter", { name: "Premium messages this month" }).getAttribute("data-level")).toBe("critical");
    await meter(page, "premium_messages-month").getByText("Almost used up · 1 left").waitFor();
    await page.getByText("Premium models (6)").click();
    await page.getByText("claude-opus-4").waitFor();
  });

  test("follows what happens, without a reload", async () => {
    await service.consume("user:live", 1);
    const page = await visit("user:live");
    await page.getByText("Live", { exact: true }).waitFor();

    await service.consume("user:live", 6);

    await meter(page, "messages-month").getByText("7 of 100").waitFor({ timeout: 2_000 });
  });

  test("says what went wrong, and recovers when asked to", async () => {
    const page = await visit("user:broken");
    await meter(page, "messages-month").waitFor();
    await page.route("**/usage", (route) => route.fulfill({ status: 503, json: { detail: "redis is away" } }));
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByText("This may be out of date: redis is away.").waitFor();

    await page.unroute("**/usage");
    await page.getByRole("button", { name: "Try again" }).click();

    await page.getByRole("alert").waitFor({ state: "detached" });
  });

  test("a refused credential is said and nothing is shown", async () => {
    const page = await visit("user:nobody", { key: "hr_live_wrong" });
    await page.getByText("This could not be loaded").first().waitFor();
    expect(await page.getByRole("meter").count()).toBe(0);
  });
});

describe("UsageWarningBanner", () => {
  test("comes at 80 %, stays dismissed over a reload, and comes again at 95 %", async () => {
    await service.consume("user:warned", 79);
    const page = await visit("user:warned");
    await meter(page, "messages-month").getByText("79 of 100").waitFor();
    expect(await page.locator(".hr-banner").count()).toBe(0);

    await service.consume("user:warned", 1);
    await page.getByText("Messages: 80% used this month.").waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.reload();
    await meter(page, "messages-month").getByText("80 of 100").waitFor();
    expect(await page.locator(".hr-banner").count()).toBe(0);

    await service.consume("user:warned", 15);
    await page.getByRole("alert").getByText("Messages: 95% used this month.").waitFor();
  });

  test("says so when the limit is reached, also after the warning was dismissed", async () => {
    await service.consume("user:full", 96);
    const page = await visit("user:full");
    await page.getByRole("button", { name: "Dismiss" }).click();

    await service.consume("user:full", 4);

    await page.getByText("Messages: the limit has been reached.").waitFor();
  });

  test("fits a phone, with buttons that a thumb can hit", async () => {
    await service.consume("user:phone", 97);
    const page = await visit("user:phone", { width: 360 });
    const dismiss = page.getByRole("button", { name: "Dismiss" });
    await dismiss.waitFor();
    expect(await overflows(page)).toBe(false);
    expect((await dismiss.boundingBox())?.height).toBeGreaterThanOrEqual(44);
  });
});

describe("UpgradeModal", () => {
  test("recommends the cheapest plan with room, beside the others, and hands on the choice", async () => {
    await service.consume("user:upgrading", 100);
    const page = await visit("user:upgrading");
    await page.getByRole("button", { name: "Upgrade" }).click();
    const modal = page.getByRole("dialog", { name: "Upgrade your plan" });
    await modal.getByText("Messages: you have reached the limit.").waitFor();

    expect(await modal.locator('[data-best="true"]').getAttribute("data-plan")).toBe("starter");
    expect(await modal.locator(".hr-plan-title").allTextContents()).toEqual(["Free", "Starter", "Growth"]);
    await modal.getByText("Your plan", { exact: true }).waitFor();
    await modal.getByRole("button", { name: "Choose Starter" }).click();
    await modal.waitFor({ state: "detached" });
    expect(await page.evaluate(() => (window as unknown as { stage: { chosen: string[] } }).stage.chosen)).toEqual(["starter"]);
  });

  test("works with the keyboard alone, and gives the focus back", async () => {
    await service.consume("user:keys", 85);
    const page = await visit("user:keys");
    const upgrade = page.getByRole("button", { name: "Upgrade" });
    await upgrade.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Choose Growth" }).waitFor();
    for (let step = 0; step < 8; step += 1) {
      await page.keyboard.press("Tab");
      const isInside = await page.evaluate(() => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null);
      expect(isInside).toBe(true);
    }

    await page.keyboard.press("Escape");

    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await upgrade.evaluate((button) => button === document.activeElement)).toBe(true);
  });
});

describe("UsageAnalytics", () => {
  test("shows the last 30 days as a chart and as a table", async () => {
    await service.consume("user:trend", 12);
    const page = await visit("user:trend");
    const table = page.getByRole("table", { name: /Messages a day over the last 30 days, 12 in all/ });
    await table.waitFor({ state: "attached" });
    expect(await table.locator("tbody tr").count()).toBe(30);
    expect(await table.locator("tbody tr").last().locator("td").textContent()).toBe("12");
    await page.getByText("Too early to say").first().waitFor();
  });

  test("says so when nothing was used", async () => {
    const page = await visit("user:idle");
    await page.getByText("Nothing was used in the last 30 days.").waitFor();
  });
});

describe("all of them", () => {
  test.each([{ dark: false }, { dark: true }])("axe finds nothing, dark: $dark", async ({ dark }) => {
    await service.consume("user:axe", 97);
    await service.consume("user:axe", 17, "premium_messages");
    const page = await visit("user:axe", { dark });
    await page.getByRole("table").waitFor({ state: "attached" });
    expect(await violations(page)).toEqual([]);

    await page.getByRole("button", { name: "Upgrade" }).click();
    await page.getByRole("button", { name: "Choose Starter" }).waitFor();
    expect(await violations(page)).toEqual([]);
  });

  test("a host's variables change the look", async () => {
    await service.consume("user:themed", 10);
    const page = await visit("user:themed");
    await page.addStyleTag({ content: ":root { --hr-none: rgb(1, 2, 3); }" });
    const fill = page.locator(".hr-bar-fill").first();
    await fill.waitFor({ state: "attached" });
    expect(await fill.evaluate((bar) => getComputedStyle(bar).fill)).toBe("rgb(1, 2, 3)");
  });
});
