import type { Page } from "../../clients/react/tests/support/browser.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { meter, startWorld, subjectPage, visit } from "./visit.ts";
import type { World } from "./visit.ts";

let world: World;

beforeAll(async () => (world = await startWorld()));
afterAll(() => world?.stop());

const dialog = (page: Page) => page.getByRole("dialog");
const undo = (page: Page) => page.getByRole("button", { name: "Undo" }).click();

test("a denial appears in the live feed within a second", async () => {
  const page = await visit(world);
  await page.getByText("Live", { exact: true }).waitFor();
  await world.service.consume("user:denied", 100);

  expect(await world.service.consume("user:denied", 1)).toBe(429);
  const deniedAt = performance.now();

  const item = page.locator('.feed [data-type="quota-denied"]').filter({ hasText: "user:denied" });
  await item.waitFor();
  const ms = performance.now() - deniedAt;
  console.info(`the denial appeared after ${Math.round(ms)} ms`);
  expect(ms).toBeLessThan(1_000);
  await item.getByText("messages-month · asked for 1").waitFor();
});

test("whoever is near a limit is listed, and leads to their page", async () => {
  await world.service.consume("user:near", 96);
  const page = await visit(world);
  await page.getByRole("link", { name: "user:near" }).first().click();
  await page.getByRole("heading", { name: "user:near", level: 1 }).waitFor();
  await meter(page, "messages-month").getByText("96 of 100").waitFor();
});

test("usage is reset with a reason, which is undone with what was used since", async () => {
  await world.service.consume("user:reset", 90);
  const page = await subjectPage(world, "user:reset");
  await page.getByRole("button", { name: "Reset usage" }).click();
  await dialog(page).getByRole("button", { name: "Reset usage" }).click();
  expect(await dialog(page).isVisible(), "a reason is needed").toBe(true);
  await dialog(page).getByLabel("Reason").fill("asked by support – #42");
  await dialog(page).getByRole("button", { name: "Reset usage" }).click();
  await page.getByText("Usage reset: 90 units cleared.").waitFor();
  await meter(page, "messages-month").getByText("0 of 100").waitFor();
  await world.service.consume("user:reset", 2);

  await undo(page);

  await meter(page, "messages-month").getByText("92 of 100").waitFor();
  await page.goto(`${world.service.url}/dashboard/#/audit`);
  await page.getByText("asked by support – #42").waitFor();
});

test("bonus units are granted with a reason, and taken back by undo", async () => {
  await world.service.consume("user:granted", 100);
  const page = await subjectPage(world, "user:granted");
  await page.getByRole("button", { name: "Grant units" }).click();
  await dialog(page).getByLabel("Units").fill("25");
  await dialog(page).getByLabel("Reason").fill("sorry for the outage");
  await dialog(page).getByRole("button", { name: "Grant" }).click();
  await page.getByRole("region", { name: "Grants" }).getByText("25 of 25").waitFor();
  expect(await world.service.consume("user:granted", 5)).toBe(200);

  await undo(page);

  await page.getByText("Undone: 25 bonus units granted.").waitFor();
  expect(await world.service.consume("user:granted", 1)).toBe(429);
});

test("the plan is changed with a reason and holds at once, and undo brings the old one back", async () => {
  await world.service.consume("user:planned", 100);
  const page = await subjectPage(world, "user:planned");
  await page.getByRole("button", { name: "Change plan" }).click();
  await dialog(page).getByLabel("Plan").selectOption("starter");
  await dialog(page).getByLabel("Reason").fill("paid by invoice");
  await dialog(page).getByRole("button", { name: "Change plan" }).click();
  await meter(page, "messages-month").getByText("100 of 1,000").waitFor();
  expect(await world.service.consume("user:planned", 1)).toBe(200);

  await undo(page);

  await meter(page, "messages-month").getByText("101 of 100").waitFor();
});

test("a subject gets a limit of its own, which can be removed", async () => {
  const page = await subjectPage(world, "user:own");
  await page.getByRole("button", { name: "Set own limit" }).click();
  await dialog(page).getByLabel("Most units").fill("7");
  await dialog(page).getByLabel("Reason").fill("trial");
  await dialog(page).getByRole("button", { name: "Set limit" }).click();
  await meter(page, "messages-month").getByText("0 of 7").waitFor();

  await page.getByRole("button", { name: "Remove the limit of Messages" }).click();

  await meter(page, "messages-month").getByText("0 of 100").waitFor();
});

test("the page shows the log, open reservations and the forecast, as they change", async () => {
  const page = await subjectPage(world, "user:busy");
  await page.getByText("Nothing has happened yet.").waitFor();
  await world.service.call("POST", "/v1/reservations", { subject: "user:busy", model: "claude-opus-4", amount: 3, ttl_s: 600 });

  await page.getByRole("region", { name: "Open reservations" }).getByText("claude-opus-4").waitFor();
  await page.getByRole("region", { name: "Log" }).getByText("reserve", { exact: true }).waitFor();
  await page.getByText("Messages, last 30 days").waitFor();
});

test("everything can be done with the keyboard alone", async () => {
  await world.service.consume("user:keyboard", 50);
  const page = await visit(world, "/overview", { signedIn: false });
  await page.locator("input[name=key]:focus").waitFor();
  await page.keyboard.type(world.service.adminKey);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  await press(page, "Subjects");
  await page.getByRole("heading", { name: "Subjects", level: 1 }).waitFor();
  await tabTo(page, "Subject");
  await page.keyboard.type("user:keyboard");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "user:keyboard", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Reset usage" }).waitFor();
  await press(page, "Reset usage");
  await tabTo(page, "Reason");
  await page.keyboard.type("keyboard");
  await page.keyboard.press("Enter");
  await page.getByText("Usage reset: 50 units cleared.").waitFor();
  await press(page, "Undo");

  await page.getByText("Undone: Usage reset").waitFor();
  await meter(page, "messages-month").getByText("50 of 100").waitFor();
});

const TABS_MAX = 60;

/** Moves the focus forwards to what has this name. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let step = 0; step < TABS_MAX; step += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const at = document.activeElement;
      const label = at instanceof HTMLInputElement ? at.labels?.[0]?.querySelector(".field-label")?.textContent : undefined;
      return (at?.getAttribute("aria-label") ?? label ?? at?.textContent ?? "").trim();
    });
    if (focused === name) return;
  }
  throw new Error(`${name} cannot be reached with the tab key`);
}

async function press(page: Page, name: string): Promise<void> {
  await tabTo(page, name);
  await page.keyboard.press("Enter");
}
