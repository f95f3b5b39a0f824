import { useEffect, useRef } from "react";
import type { ComponentType } from "react";
import { Logo } from "./Logo.tsx";
import { Alerts } from "./pages/Alerts.tsx";
import { Audit } from "./pages/Audit.tsx";
import { Keys } from "./pages/Keys.tsx";
import { Operations } from "./pages/Operations.tsx";
import { Overview } from "./pages/Overview.tsx";
import { Plans } from "./pages/Plans.tsx";
import { Subjects } from "./pages/Subjects.tsx";
import { Webhooks } from "./pages/Webhooks.tsx";
import { href, useRoute } from "./route.ts";

interface PageOf {
  readonly title: string;
  readonly Page: ComponentType<{ readonly about: string }>;
}

/** All pages, in the order of the menu. */
const PAGES: Readonly<Record<string, PageOf>> = {
  overview: { title: "Overview", Page: Overview },
  subjects: { title: "Subjects", Page: Subjects },
  plans: { title: "Plans", Page: Plans },
  alerts: { title: "Alerts", Page: Alerts },
  webhooks: { title: "Webhooks", Page: Webhooks },
  keys: { title: "Keys", Page: Keys },
  audit: { title: "Audit", Page: Audit },
  operations: { title: "Operations", Page: Operations },
};
const OVERVIEW: PageOf = { title: "Overview", Page: Overview };

export function Shell({ onSignOut }: { readonly onSignOut: () => void }) {
  const { page, about } = useRoute();
  const { title, Page } = PAGES[page] ?? OVERVIEW;
  const heading = useRef<HTMLHeadingElement>(null);
  const visited = useRef(false);
  const name = about === "" ? title : about;
  useEffect(() => {
    document.title = `${name} · Headroom`;
    // After a change of page, screen readers and the keyboard go on at its heading.
    if (visited.current) heading.current?.focus();
    visited.current = true;
  }, [name]);
  return (
    <div className="hr-root shell">
      <a className="skip" href="#content" onClick={(event) => (event.preventDefault(), heading.current?.focus())}>Skip to content</a>
      <header className="bar">
        <a className="brand" href={href("overview")}><Logo />Headroom</a>
        <nav aria-label="Pages">
          <ul>{Object.entries(PAGES).map(([key, it]) => <li key={key}><a href={href(key)} aria-current={it.Page === Page ? "page" : undefined}>{it.title}</a></li>)}</ul>
        </nav>
        <button type="button" className="hr-button signout" onClick={onSignOut}>Sign out</button>
      </header>
      <main id="content">
        <h1 ref={heading} tabIndex={-1}>{name}</h1>
        <Page key={`${page} ${about}`} about={about} />
      </main>
    </div>
  );
}
