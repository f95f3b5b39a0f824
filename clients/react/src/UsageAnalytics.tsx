import { useId } from "react";
import type { Forecast, ForecastLimit, Hint } from "./api.ts";
import { BarChart } from "./BarChart.tsx";
import { away, count, date } from "./format.ts";
import { useForecast, useTrend } from "./hooks.ts";
import { span } from "./level.ts";
import type { TrendDays } from "./hooks.ts";
import { useLabel } from "./provider.tsx";
import { Failure, Skeleton } from "./UsageDashboard.tsx";
import type { Resource } from "./useResource.ts";

export interface UsageAnalyticsProps {
  readonly metric?: string;
  readonly subject?: string;
}

/** What was used on each of the last 30 days, how long limits last, and what would help. */
export function UsageAnalytics({ metric = "messages", subject }: UsageAnalyticsProps) {
  const trend = useTrend(metric, subject);
  const forecast = useForecast(metric, subject);
  return <UsageAnalyticsView metric={metric} trend={trend} forecast={forecast} />;
}

type Read<T> = Pick<Resource<T>, "data" | "error" | "refresh">;

export interface UsageAnalyticsViewProps {
  readonly metric: string;
  readonly trend: Read<TrendDays>;
  readonly forecast: Read<Forecast>;
}

/** The same of data that the host has fetched. */
export function UsageAnalyticsView({ metric, trend, forecast }: UsageAnalyticsViewProps) {
  const id = useId();
  const name = useLabel()(metric);
  const error = trend.error ?? forecast.error;
  const retry = () => [trend, forecast].filter((it) => it.error).forEach((it) => it.refresh());
  return (
    <section className="hr-root hr-card hr-analytics" aria-labelledby={id}>
      <h2 id={id} className="hr-title">{name}, last 30 days</h2>
      {error && <Failure error={error} onRetry={retry} isStale={trend.data !== undefined} />}
      {trend.data ? <Trend name={name} trend={trend.data} /> : !trend.error && <Skeleton lines={4} />}
      {forecast.data && <Outlook forecast={forecast.data} />}
    </section>
  );
}

function Trend({ name, trend }: { readonly name: string; readonly trend: TrendDays }) {
  const total = trend.days.reduce((sum, day) => sum + day.units, 0);
  if (total === 0) return <p className="hr-empty">Nothing was used in the last 30 days.</p>;
  const data = trend.days.map((day) => ({ label: date(`${day.date}T12:00:00Z`), values: [day.units] }));
  return (
    <>
      <BarChart title={`${name} a day over the last 30 days, ${count(total)} in all`} parts={[name]} data={data} labelEvery={7} />
      {trend.isPartial && <p className="hr-quiet hr-small">The oldest days are incomplete: there was too much to read.</p>}
    </>
  );
}

const TREND = { increasing: "rising", decreasing: "falling", stable: "steady" };

function Outlook({ forecast }: { readonly forecast: Forecast }) {
  const average = forecast.average_daily_milliunits / 1_000;
  return (
    <>
      <dl className="hr-facts">
        <div><dt>A day, on average</dt><dd className="hr-number">{count(Math.round(average * 10) / 10)}</dd></div>
        <div><dt>Trend</dt><dd data-trend={forecast.trend}>{TREND[forecast.trend]}</dd></div>
        {forecast.limits.slice(0, 4).map((limit) => <Lasts key={limit.name} limit={limit} />)}
      </dl>
      {forecast.hints.length > 0 && <Hints hints={forecast.hints} />}
    </>
  );
}

const REASONS: Record<NonNullable<ForecastLimit["reason"]>, string> = {
  too_few_days: "Too early to say",
  no_usage: "Nothing used lately",
  resets_before: "Lasts until it resets",
  unlimited: "Unlimited",
  too_far: "Lasts for years",
};

function Lasts({ limit }: { readonly limit: ForecastLimit }) {
  const label = useLabel();
  const budget = limit.recommended_daily_budget;
  const says = limit.exhausts_at ? `Runs out ${away(limit.exhausts_at)}` : REASONS[limit.reason ?? "too_few_days"];
  return (
    <div>
      <dt>{nameOf(limit, label)}</dt>
      <dd>{limit.remaining === 0 ? "Used up" : says}{budget !== null && limit.remaining !== 0 && <span className="hr-quiet hr-small"> · {count(budget)} a day would last</span>}</dd>
    </div>
  );
}

const PERIODS = ["minute", "hour", "day", "week", "month", "lifetime"] as const;

/** `messages-month` is "Messages this month"; a name of another form stays as it is. */
function nameOf({ name }: ForecastLimit, label: (name: string) => string): string {
  const period = PERIODS.find((it) => name.endsWith(`-${it}`));
  return period ? `${label(name.slice(0, -period.length - 1))} ${span({ period })}` : name;
}

function Hints({ hints }: { readonly hints: readonly Hint[] }) {
  return (
    <div className="hr-hints">
      <h3 className="hr-subtitle">What would help</h3>
      <ul>{hints.map((hint) => <li key={JSON.stringify(hint)}><HintText hint={hint} /></li>)}</ul>
    </div>
  );
}

function HintText({ hint }: { readonly hint: Hint }) {
  const label = useLabel();
  if (hint.kind === "plan") return <>The plan <strong>{label(hint.plan)}</strong> has more room.</>;
  return <>Use <code>{hint.cheaper}</code> instead of <code>{hint.model}</code>: {count(hint.cheaper_charges)} instead of {count(hint.charges)} a use.</>;
}
