import { subjectPath, useHeadroom, useResource } from "@headroom/react";
import type { Client, PlanLimit, Resource } from "@headroom/react";
import type { NearLimit, Subject } from "../api.ts";

/** A limit that would be lower than it is. */
export interface Lowered {
  readonly metric: string;
  readonly period: string;
  readonly max: number;
}

export interface OverRow extends Lowered {
  readonly subject: string;
  readonly limit: string;
  readonly used: number;
}

export interface Over {
  readonly rows: readonly OverRow[];
  /** Whether there are more than were looked at. */
  readonly isPartial: boolean;
}

const CANDIDATES_MAX = 1_000;
/** Each needs a request for its plan. */
const LOOKED_AT_MAX = 60;

/** The limits that `after` has lower than `before`, or anew. */
export function lowered(before: readonly PlanLimit[], after: readonly PlanLimit[]): Lowered[] {
  return after.flatMap(({ metric, period, max, each }) => {
    if (max == null || each) return [];
    const was = before.find((it) => it.metric === metric && it.period === period && !it.each)?.max;
    return was == null || max < was ? [{ metric, period, max }] : [];
  });
}

/** The subjects on the plan that have used more than the lowered limits, those nearest to their present limit first. */
export function useOver(plan: string, changes: readonly Lowered[]): Resource<Over> {
  const { client } = useHeadroom();
  const key = changes.length === 0 ? null : `${plan} ${JSON.stringify(changes)}`;
  return useResource(key, async (signal) => {
    const found = await Promise.all(changes.map((change) => candidates(client, change, signal)));
    const rows = found.flat();
    const looked = rows.slice(0, LOOKED_AT_MAX);
    const isOn = await Promise.all(looked.map((row) => holdsFor(client, plan, row, signal)));
    const isPartial = rows.length > looked.length || found.some((it) => it.length >= CANDIDATES_MAX);
    return { rows: looked.filter((_, place) => isOn[place]), isPartial };
  });
}

async function candidates(client: Client, change: Lowered, signal: AbortSignal): Promise<OverRow[]> {
  const query = { metric: change.metric, percent: 1, limit: CANDIDATES_MAX };
  const { near_limit } = await client.get<{ near_limit: readonly NearLimit[] }>("/v1/analytics/near-limit", { query, signal });
  const isOver = (it: NearLimit) => it.limit === `${change.metric}-${change.period}` && it.used > change.max;
  return near_limit.filter(isOver).map(({ subject, limit, used }) => ({ ...change, subject, limit, used }));
}

/** Whether the plan's limit is what holds for the subject. */
async function holdsFor(client: Client, plan: string, row: OverRow, signal: AbortSignal): Promise<boolean> {
  const subject = await client.get<Subject>(subjectPath(row.subject), { signal });
  const hasOwn = subject.limits.some((it) => it.metric === row.metric && it.period === row.period && !it.each);
  return subject.effective.plan === plan && !hasOwn;
}
