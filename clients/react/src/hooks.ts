import { useCallback, useEffect, useRef } from "react";
import type { Forecast, LimitState, Log, Logs, ModelRule, Plans, Usage } from "./api.ts";
import { HeadroomError, subjectPath } from "./client.ts";
import type { Client } from "./client.ts";
import { useHeadroom } from "./provider.tsx";
import { useLive } from "./useLive.ts";
import type { LiveState } from "./useLive.ts";
import { useResource } from "./useResource.ts";
import type { Resource } from "./useResource.ts";

/** Events that change what a subject may do. */
const CHANGING = [
  "quota-consumed",
  "quota-denied",
  "quota-reserved",
  "quota-released",
  "quota-refunded",
  "quota-set",
  "quota-reset",
  "quota-transferred",
  "quota-rolled-over",
];
/** Events come in bursts; after one the usage is read once. */
const SETTLE_MS = 150;
/** Without a live stream the usage is read so often. */
const POLL_MS = 30_000;

export interface UsageOptions {
  /** Whose; without, the provider's. */
  readonly subject?: string | undefined;
  /** Whether it follows what happens; by default it does. */
  readonly live?: boolean;
}

export interface LiveUsage extends Resource<Usage> {
  readonly live: LiveState;
}

/** A subject's usage, read anew whenever something happens to it. */
export function useUsage({ subject, live = true }: UsageOptions = {}): LiveUsage {
  const { client, subject: own } = useHeadroom();
  const who = subject ?? own;
  const usage = useResource(who || null, (signal) =>
    client.get<Usage>(subjectPath(who, "/usage"), { signal }),
  );
  const soon = useSoon(usage.refresh, SETTLE_MS);
  const state = useLive({ enabled: live && who !== "", subject: who, types: CHANGING, onEvent: soon });
  const isPolling = live && state !== "live";
  useEffect(() => {
    if (!isPolling) return;
    const timer = setInterval(usage.refresh, POLL_MS);
    return () => clearInterval(timer);
  }, [isPolling, usage.refresh]);
  return { ...usage, live: state };
}

/** A function that calls `act` once after the last of several calls. */
export function useSoon(act: () => void, ms: number): () => void {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => latest.current(), ms);
  }, [ms]);
}

/** The plans. End users may not read the catalogue; they get none. */
export function usePlans(): Resource<Plans> {
  const { client } = useHeadroom();
  return useResource("plans", async (signal) => {
    const read = client.get<{ plans: Plans }>("/v1/plans", { signal });
    return (await read.catch(nothingWhenForbidden({ plans: {} }))).plans;
  });
}

/** The models whose use charges `metric`, by name. */
export function usePremiumModels(metric = "premium_messages"): Resource<readonly string[]> {
  const { client } = useHeadroom();
  return useResource(`models of ${metric}`, async (signal) => {
    const read = client.get<{ models: readonly ModelRule[] }>("/v1/models", { signal });
    const { models } = await read.catch(nothingWhenForbidden({ models: [] }));
    return models.filter((rule) => (rule.charges[metric] ?? 0) > 0).flatMap((rule) => rule.names);
  });
}

/** When a subject's limits on a metric are reached. */
export function useForecast(metric: string, subject?: string): Resource<Forecast> {
  const { client, subject: own } = useHeadroom();
  const who = subject ?? own;
  return useResource(who && metric ? `${who} ${metric}` : null, (signal) =>
    client.get<Forecast>(subjectPath(who, "/forecast"), { query: { metric }, signal }),
  );
}

/** Units of one day (UTC). */
export interface DayUnits {
  /** `2026-11-26` */
  readonly date: string;
  readonly units: number;
}

export interface TrendDays {
  readonly days: readonly DayUnits[];
  /** Whether the log was longer than what was read: the oldest days are then incomplete. */
  readonly isPartial: boolean;
}

const PAGES_MAX = 20;
const PAGE_ROWS = 1_000;
const DAY_MS = 86_400_000;

/** What a subject used of a metric on each of the last days, from its log: at most its latest 20,000 rows. */
export function useTrend(metric: string, subject?: string, days = 30): Resource<TrendDays> {
  const { client, subject: own } = useHeadroom();
  const who = subject ?? own;
  return useResource(who && metric ? `${who} ${metric} ${days}` : null, async (signal) => {
    const from = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - (days - 1) * DAY_MS);
    const { rows, isPartial } = await readLog(client, who, metric, from.toISOString(), signal);
    return { days: byDay(rows, metric, from, days), isPartial };
  });
}

async function readLog(client: Client, who: string, metric: string, from: string, signal: AbortSignal) {
  const rows: Log[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const query = { metric, from, cursor, limit: PAGE_ROWS };
    const logs = await client.get<Logs>(subjectPath(who, "/logs"), { query, signal });
    rows.push(...logs.logs);
    if (logs.next_cursor === null) return { rows, isPartial: false };
    cursor = logs.next_cursor;
  }
  return { rows, isPartial: true };
}

/** Kinds of events whose charges are usage. */
const USING = new Set(["consume", "commit", "refund"]);

function byDay(rows: readonly Log[], metric: string, from: Date, days: number): DayUnits[] {
  const sums = new Map<string, number>();
  for (const row of rows.filter((it) => USING.has(it.kind))) {
    const sign = row.kind === "refund" ? -1 : 1;
    const date = row.occurred_at.slice(0, 10);
    sums.set(date, (sums.get(date) ?? 0) + sign * Math.abs(row.charges[metric] ?? 0));
  }
  return Array.from({ length: days }, (_, place) => {
    const date = new Date(from.getTime() + place * DAY_MS).toISOString().slice(0, 10);
    return { date, units: Math.max(0, sums.get(date) ?? 0) };
  });
}

/** The cheapest listed plan that leaves more of the limit than there is now; `undefined` when there is none. */
export function recommend(usage: Usage, plans: Plans, limit: LimitState): string | undefined {
  const room = (name: string) => {
    const rules = plans[name]?.limits?.filter((it) => it.metric === limit.metric && !it.each) ?? [];
    const same = rules.filter((it) => it.period === limit.period);
    return Math.min(...(same.length > 0 ? same : rules).map((it) => it.max ?? Infinity), Infinity);
  };
  const better = listed(plans).filter((name) => name !== usage.plan && room(name) > (limit.limit ?? Infinity));
  return better[0];
}

/** The names of the plans that may be offered, the cheapest first. */
export function listed(plans: Plans): string[] {
  const cost = (name: string) => plans[name]?.price ?? Infinity;
  const isListed = (name: string) => plans[name]?.listed ?? plans[name]?.price != null;
  return Object.keys(plans).filter(isListed).sort((a, b) => cost(a) - cost(b));
}

function nothingWhenForbidden<T>(nothing: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof HeadroomError && error.status === 403) return nothing;
    throw error;
  };
}
