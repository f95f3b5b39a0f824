import { useId } from "react";
import type { LimitState } from "./api.ts";
import { away, count, time } from "./format.ts";
import { levelOf, most, percent, span, taken } from "./level.ts";
import type { Level } from "./level.ts";
import { useLabel } from "./provider.tsx";

export interface BarProps {
  /** 0 to 100. */
  readonly percent: number;
  /** The part of it that is only held, 0 to 100. */
  readonly held?: number;
  readonly level: Level;
  readonly label: string;
  /** What a screen reader says in place of the number. */
  readonly text: string;
}

/** A bar in the colour of its level. An SVG, since a strict content security policy refuses styles on elements. */
export function Bar({ percent: share, held = 0, level, label, text }: BarProps) {
  const known = { role: "meter", "aria-label": label, "aria-valuetext": text };
  return (
    <svg className="hr-bar" data-level={level} {...known} aria-valuenow={share} aria-valuemin={0} aria-valuemax={100}>
      <rect className="hr-bar-track" width="100%" height="100%" rx="4" />
      <rect className="hr-bar-held" width={`${share}%`} height="100%" rx="4" />
      <rect className="hr-bar-fill" width={`${Math.max(0, share - held)}%`} height="100%" rx="4" />
    </svg>
  );
}

const SAYS: Record<Level, string> = {
  none: "Within the limit",
  warning: "Getting close",
  critical: "Almost used up",
  reached: "Limit reached",
};

/** One limit: what is used of it, how near it is, and when it starts anew. */
export function Meter({ limit }: { readonly limit: LimitState }) {
  const name = useLabel()(limit.metric);
  const id = useId();
  const level = levelOf(limit);
  const max = most(limit);
  const share = percent(limit);
  const held = max === null || max === 0 ? 0 : (limit.reserved * 100) / max;
  return (
    <li className="hr-meter" data-level={level} data-limit={limit.name} aria-labelledby={id}>
      <div className="hr-row">
        <span id={id} className="hr-meter-name">
          {name} <span className="hr-quiet">{span(limit)}</span>
        </span>
        <span className="hr-number">
          <strong>{count(taken(limit))}</strong>
          <span className="hr-quiet"> {max === null ? "used" : `of ${count(max)}`}</span>
        </span>
      </div>
      {max !== null && (
        <Bar percent={share} held={held} level={level} label={`${name} ${span(limit)}`} text={`${share}%: ${count(taken(limit))} of ${count(max)} used`} />
      )}
      <div className="hr-row hr-small">
        <span className="hr-status" data-level={level}>
          {max === null ? "Unlimited" : statusOf(limit, level)}
        </span>
        <Resets limit={limit} />
      </div>
    </li>
  );
}

function statusOf(limit: LimitState, level: Level): string {
  const parts = [SAYS[level]];
  if (level !== "reached" && limit.remaining != null) parts.push(`${count(limit.remaining)} left`);
  if (limit.granted_remaining > 0) parts.push(`${count(limit.granted_remaining)} bonus`);
  if (limit.reserved > 0) parts.push(`${count(limit.reserved)} in progress`);
  if (limit.overage) parts.push(`${count(limit.overage)} over`);
  return parts.join(" · ");
}

function Resets({ limit }: { readonly limit: LimitState }) {
  if (limit.resets_at === null) return <span className="hr-quiet">Never resets</span>;
  return (
    <time className="hr-quiet" dateTime={limit.resets_at} title={time(limit.resets_at)}>
      Resets {away(limit.resets_at)}
    </time>
  );
}
