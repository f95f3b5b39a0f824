import type { LimitState } from "./api.ts";

/** How near a count is to its limit, lowest first. */
export const LEVELS = ["none", "warning", "critical", "reached"] as const;
export type Level = (typeof LEVELS)[number];

/** Units used and held. */
export function taken(limit: LimitState): number {
  return limit.used + limit.reserved;
}

/** The most units, with those carried over; `null` is unlimited. */
export function most(limit: LimitState): number | null {
  if (limit.unlimited || limit.limit === null || limit.limit === undefined) return null;
  return limit.limit + (limit.carried ?? 0);
}

/** The share that is used, in percent; 0 when unlimited, and at most 100 for a bar. */
export function percent(limit: LimitState): number {
  const max = most(limit);
  if (max === null) return 0;
  if (max === 0) return 100;
  return Math.min(100, Math.floor((taken(limit) * 100) / max));
}

/** The level that the service tells, and `reached` when nothing is left, bonus units included. */
export function levelOf(limit: LimitState): Level {
  const max = most(limit);
  if (max === null) return "none";
  if (taken(limit) >= max && limit.granted_remaining === 0) return "reached";
  return limit.warning;
}

/** The limit that is nearest to its end; `undefined` when none is near. */
export function tightest(limits: readonly LimitState[]): LimitState | undefined {
  const near = limits.filter((limit) => levelOf(limit) !== "none");
  return near.sort((a, b) => rank(b) - rank(a) || percent(b) - percent(a))[0];
}

function rank(limit: LimitState): number {
  return LEVELS.indexOf(levelOf(limit));
}

const EVERY = { minute: "this minute", hour: "this hour", day: "today", week: "this week", month: "this month", lifetime: "in total" };

/** "this month" */
export function span(limit: Pick<LimitState, "period">): string {
  return EVERY[limit.period];
}
