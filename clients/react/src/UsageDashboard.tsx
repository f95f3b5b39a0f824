import { useId } from "react";
import type { Usage } from "./api.ts";
import { usePremiumModels, useUsage } from "./hooks.ts";
import type { LiveUsage, UsageOptions } from "./hooks.ts";
import { levelOf, most } from "./level.ts";
import { Meter } from "./Meter.tsx";
import { useLabel } from "./provider.tsx";
import type { LiveState } from "./useLive.ts";

export interface UsageDashboardProps extends UsageOptions {
  readonly title?: string;
  /** The models whose use is premium; without, those of the catalogue that charge `premiumMetric`. */
  readonly premiumModels?: readonly string[];
  readonly premiumMetric?: string;
}

/** What a subject has used of its limits, as it happens. */
export function UsageDashboard({ premiumModels, premiumMetric, ...rest }: UsageDashboardProps) {
  const usage = useUsage(rest);
  const models = usePremiumModels(premiumMetric);
  return <UsageDashboardView {...rest} usage={usage} premiumModels={premiumModels ?? models.data ?? []} />;
}

export interface UsageDashboardViewProps {
  readonly title?: string;
  readonly usage: Pick<LiveUsage, "data" | "error" | "isLoading" | "refresh" | "live">;
  readonly premiumModels?: readonly string[];
}

/** The same of data that the host has fetched. */
export function UsageDashboardView({ title = "Usage", usage, premiumModels = [] }: UsageDashboardViewProps) {
  const id = useId();
  const { data, error, isLoading, refresh, live } = usage;
  return (
    <section className="hr-root hr-card hr-usage" aria-labelledby={id} aria-busy={isLoading}>
      <header className="hr-row">
        <h2 id={id} className="hr-title">{title}</h2>
        <span className="hr-actions">
          <LiveMark state={live} />
          <button type="button" className="hr-button" onClick={refresh} disabled={isLoading}>Refresh</button>
        </span>
      </header>
      {error && <Failure error={error} isStale={data !== undefined} onRetry={refresh} />}
      {data ? <Limits usage={data} /> : !error && <Skeleton />}
      {data && premiumModels.length > 0 && <PremiumModels names={premiumModels} />}
    </section>
  );
}

function Limits({ usage }: { readonly usage: Usage }) {
  const label = useLabel();
  const bounded = [...usage.limits].sort((a, b) => Number(most(a) === null) - Number(most(b) === null));
  return (
    <>
      <p className="hr-quiet hr-small">
        {usage.plan && <>Plan <strong className="hr-plan">{label(usage.plan)}</strong> · </>}
        <span role="status">{sentenceOf(usage)}</span>
      </p>
      {bounded.length === 0 && <p className="hr-empty">No limits. Nothing is counted for this plan.</p>}
      <ul className="hr-meters">
        {bounded.map((limit) => <Meter key={`${limit.subject} ${limit.name}`} limit={limit} />)}
      </ul>
    </>
  );
}

/** One sentence of how things are. */
function sentenceOf(usage: Usage): string {
  if (usage.blocked) return "This account is blocked. Please contact support.";
  const levels = usage.limits.map(levelOf);
  const reached = levels.filter((level) => level === "reached").length;
  if (reached === 1) return "A limit has been reached.";
  if (reached > 1) return `${reached} limits have been reached.`;
  if (levels.includes("critical")) return "A limit is almost used up.";
  if (levels.includes("warning")) return "You are getting close to a limit.";
  return "All within limits.";
}

function PremiumModels({ names }: { readonly names: readonly string[] }) {
  return (
    <details className="hr-premium">
      <summary>Premium models ({names.length})</summary>
      <ul className="hr-chips">
        {names.map((name) => <li key={name}><code>{name}</code></li>)}
      </ul>
    </details>
  );
}

const LIVE_TEXT: Record<LiveState, string> = {
  off: "",
  connecting: "Connecting",
  live: "Live",
  lost: "Reconnecting",
  refused: "Not live",
};

/** Whether what is shown follows what happens. */
export function LiveMark({ state }: { readonly state: LiveState }) {
  if (state === "off") return null;
  return <span className="hr-live" data-state={state}>{LIVE_TEXT[state]}</span>;
}

/** What went wrong, and a way out of it. */
export function Failure(props: { readonly error: Error; readonly isStale?: boolean; readonly onRetry?: () => void }) {
  return (
    <div className="hr-failure" role="alert">
      <span>{props.isStale ? "This may be out of date: " : "This could not be loaded: "}{props.error.message}.</span>
      {props.onRetry && <button type="button" className="hr-button" onClick={props.onRetry}>Try again</button>}
    </div>
  );
}

/** What is shown until the first answer. */
export function Skeleton({ lines = 3 }: { readonly lines?: number }) {
  return (
    <div className="hr-skeleton" role="status">
      <span className="hr-hidden">Loading</span>
      {Array.from({ length: lines }, (_, place) => <span key={place} className="hr-skeleton-line" />)}
    </div>
  );
}
