import type { Browser, Page } from "../../clients/react/tests/support/browser.ts";
import { launch } from "../../clients/react/tests/support/browser.ts";
import { startService } from "../../clients/react/tests/support/service.ts";
import type { Service } from "../../clients/react/tests/support/service.ts";

export interface World {
  readonly service: Service;
  readonly browser: Browser;
  readonly stop: () => Promise<void>;
}

export async function startWorld(settings: Record<string, string> = {}, dataDir?: string): Promise<World> {
  const [service, browser] = await Promise.all([startService(settings, dataDir), launch()]);
  const stop = async () => {
    await browser.close();
    await service.stop();
  };
  return { service, browser, stop };
}

export interface Visit {
  readonly width?: number;
  readonly height?: number;
  readonly dark?: boolean;
  /** Whether the sign-in is skipped; by default it is. */
  readonly signedIn?: boolean;
  readonly key?: string;
}

/** Opens the dashboard in a profile of its own: `path` is what follows the `#`. */
export async function visit({ browser, service }: World, path = "/overview", options: Visit = {}): Promise<Page> {
  const { width = 1440, height = 900, dark = false, signedIn = true, key = service.adminKey } = options;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", locale: "en-GB" });
  const page = await context.newPage();
  if (signedIn) await page.addInitScript((known) => sessionStorage.setItem("headroom:key", known), key);
  await page.goto(`${service.url}/dashboard/#${path}`);
  return page;
}

/** The page of a subject. */
export function subjectPage(world: World, subject: string, options: Visit = {}): Promise<Page> {
  return visit(world, `/subjects/${encodeURIComponent(subject)}`, options);
}

export const meter = (page: Page, limit: string) => page.locator(`[data-limit="${limit}"]`);
