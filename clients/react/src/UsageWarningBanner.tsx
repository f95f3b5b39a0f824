import { useState } from "react";
import type { LimitState, Usage } from "./api.ts";
import { dismiss, isDismissed } from "./dismissals.ts";
import { away, count } from "./format.ts";
import { useUsage } from "./hooks.ts";
import type { UsageOptions } from "./hooks.ts";
import { levelOf, most, percent, span, taken, tightest } from "./level.ts";
import { useLabel } from "./provider.tsx";

export interface UsageWarningBannerProps extends UsageOptions {
  /** Called by the upgrade button; without, it leads to the plan's `upgrade_url` if there is one. */
  readonly onUpgrade?: () => void;
}

/** Warns once a limit is at 80 % and again at 95 % and when it is reached; nothing is shown before. */
export function UsageWarningBanner({ onUpgrade, ...rest }: UsageWarningBannerProps) {
  const { data } = useUsage(rest);
  return data ? <UsageWarningBannerView usage={data} {...(onUpgrade ? { onUpgrade } : {})} /> : null;
}

export interface UsageWarningBannerViewProps {
  readonly usage: Usage;
  readonly onUpgrade?: () => void;
}

/** The same of data that the host has fetched. */
export function UsageWarningBannerView({ usage, onUpgrade }: UsageWarningBannerViewProps) {
  const [gone, setGone] = useState("");
  const label = useLabel();
  const limit = tightest(usage.limits.filter((it) => !isDismissed(usage.subject, it)));
  if (limit === undefined || gone === stateOf(limit)) return null;
  const level = levelOf(limit);
  const onDismiss = () => {
    dismiss(usage.subject, limit);
    setGone(stateOf(limit));
  };
  return (
    <div className="hr-root hr-banner" data-level={level} role={level === "warning" ? "status" : "alert"}>
      <p className="hr-banner-text">
        <strong>{headline(limit, label(limit.metric))}</strong> <span>{detail(limit)}</span>
      </p>
      <span className="hr-actions">
        <Upgrade url={usage.upgrade_url} onUpgrade={onUpgrade} />
        <button type="button" className="hr-button hr-button-quiet" onClick={onDismiss}>Dismiss</button>
      </span>
    </div>
  );
}

/** A warning that was dismissed comes again when this changes. */
function stateOf(limit: LimitState): string {
  return [limit.subject, limit.name, levelOf(limit), limit.resets_at].join(" ");
}

function headline(limit: LimitState, name: string): string {
  if (levelOf(limit) === "reached") return `${name}: the limit has been reached.`;
  return `${name}: ${percent(limit)}% used ${span(limit)}.`;
}

function detail(limit: LimitState): string {
  const left = levelOf(limit) === "reached"
    ? `${count(taken(limit))} of ${count(most(limit) ?? 0)} used.`
    : `${count(limit.remaining ?? 0)} left.`;
  return limit.resets_at === null ? left : `${left} Resets ${away(limit.resets_at)}.`;
}

function Upgrade(props: { readonly url: string | null | undefined; readonly onUpgrade: (() => void) | undefined }) {
  if (props.onUpgrade) {
    return <button type="button" className="hr-button hr-button-strong" onClick={props.onUpgrade}>Upgrade</button>;
  }
  return props.url ? <a className="hr-button hr-button-strong" href={props.url}>Upgrade</a> : null;
}
