import { BarChart, Bar, format, useHeadroom, useLabel, useLive, useResource, useSoon } from "@headroom/react";
import type { Level } from "@headroom/react";
import { useState } from "react";
import type { DenialRate, Distribution, NearLimit, Summary } from "../api.ts";
import { Card, Loaded, Table } from "../parts/Card.tsx";
import { LiveFeed } from "../parts/LiveFeed.tsx";
import { href } from "../route.ts";
import { useCatalogue, useEvery, useGet } from "../useApi.ts";

const REFRESH_MS = 30_000;
const HOURS = 48;
const HOUR_MS = 3_600_000;

/** How things are: what happens, who is near a limit, how much is used and refused. */
export function Overview() {
  const catalogue = useCatalogue();
  const [chosen, setChosen] = useState("");
  const label = useLabel();
  return (
    <Loaded of={catalogue}>
      {({ metrics }) => {
        const metric = chosen || metrics[0] || "messages";
        return (
          <>
            <label className="picker">Metric <select value={metric} onChange={(event) => setChosen(event.target.value)}>
              {metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}
            </select></label>
            <Numbers key={metric} metric={metric} metrics={metrics} />
          </>
        );
      }}
    </Loaded>
  );
}

const NEAR_MAX = 20;
const METRICS_MAX = 16;

/** Who is near a limit of any metric, the nearest first. */
function useNear(metrics: readonly string[]) {
  const { client } = useHeadroom();
  return useResource(`near ${metrics.join()}`, async (signal) => {
    const asked = metrics.slice(0, METRICS_MAX).map((metric) => {
      const query = { metric, percent: 80, limit: NEAR_MAX };
      return client.get<{ near_limit: readonly NearLimit[] }>("/v1/analytics/near-limit", { query, signal });
    });
    const rows = (await Promise.all(asked)).flatMap((it) => it.near_limit);
    return rows.sort((a, b) => b.used_permille - a.used_permille).slice(0, NEAR_MAX);
  });
}

function Numbers({ metric, metrics }: { readonly metric: string; readonly metrics: readonly string[] }) {
  const label = useLabel();
  const summary = useGet<Summary>("/v1/analytics/summary", { metric, days: 30 });
  const denials = useGet<DenialRate>("/v1/analytics/denials", { metric, days: 3 });
  const near = useNear(metrics);
  const spread = useGet<Distribution>("/v1/analytics/distribution", { metric });
  const refresh = () => [summary, denials, near, spread].forEach((it) => it.refresh());
  useEvery(REFRESH_MS, refresh);
  const soon = useSoon(() => (near.refresh(), denials.refresh()), 1_000);
  useLive({ types: ["quota-denied", "quota-warning", "quota-reached", "quota-reset", "quota-set"], onEvent: soon });
  const today = summary.data?.days.at(-1);
  const recent = lastHours(denials.data, 24);
  return (
    <>
      <dl className="tiles">
        <Tile name={`${label(metric)} today`} value={today && format.count(today.total_messages)} />
        <Tile name="Active subjects today" value={today && format.count(today.active_users)} />
        <Tile name="Refused in 24 hours" value={denials.data && rate(recent)} />
        <Tile name="Near a limit" value={near.data && (near.data.length >= NEAR_MAX ? `${NEAR_MAX} or more` : format.count(near.data.length))} />
      </dl>
      <div className="columns">
        <LiveFeed />
        <Card title="Near a limit"><Loaded of={near} isEmpty={(it) => it.length === 0} empty="Nobody has used 80% of a limit.">{(it) => <Near rows={it} />}</Loaded></Card>
        <Card title="Usage, last 30 days"><Loaded of={summary} isEmpty={(it) => it.total_messages === 0} empty="Nothing was used in the last 30 days.">{(it) => <Daily label={label(metric)} summary={it} />}</Loaded></Card>
        <Card title="Accepted and refused, last 48 hours"><Loaded of={denials} isEmpty={(it) => it.accepted + it.denied === 0} empty="No requests in the last days.">{(it) => <Hourly denials={it} />}</Loaded></Card>
        <Card title="Distribution this month"><Loaded of={spread} isEmpty={(it) => it.subjects === 0} empty="No subject has used anything this month yet.">{(it) => <Spread metric={label(metric)} spread={it} />}</Loaded></Card>
        <Card title="Why requests were refused"><Loaded of={denials} isEmpty={(it) => it.denied === 0} empty="No request was refused in the last days.">{(it) => <Codes denials={it} />}</Loaded></Card>
      </div>
    </>
  );
}

function Tile({ name, value }: { readonly name: string; readonly value: string | undefined }) {
  return <div className="tile"><dt>{name}</dt><dd>{value ?? "–"}</dd></div>;
}

function rate({ accepted, denied }: { readonly accepted: number; readonly denied: number }): string {
  const all = accepted + denied;
  return all === 0 ? "0%" : `${format.count(Math.round((denied * 1000) / all) / 10)}% (${format.count(denied)})`;
}

function Near({ rows }: { readonly rows: readonly NearLimit[] }) {
  return (
    <ul className="near">
      {rows.map((row) => {
        const share = Math.floor(row.used_permille / 10);
        const text = `${format.count(row.used)} of ${format.count(row.max)}`;
        return (
          <li key={`${row.subject} ${row.limit}`}>
            <div className="hr-row"><a href={href("subjects", row.subject)}>{row.subject}</a><span className="hr-number hr-small">{text}</span></div>
            <Bar percent={Math.min(100, share)} level={levelOf(share)} label={`${row.subject}, ${row.limit}`} text={`${share}%: ${text} used`} />
            <div className="hr-row hr-small hr-quiet"><span>{row.limit}</span><span>resets {format.away(row.resets_at)}</span></div>
          </li>
        );
      })}
    </ul>
  );
}

function levelOf(share: number): Level {
  if (share >= 100) return "reached";
  return share >= 95 ? "critical" : "warning";
}

function Daily({ label, summary }: { readonly label: string; readonly summary: Summary }) {
  const data = summary.days.map((day) => ({ label: format.date(`${day.date}T12:00:00Z`), values: [day.total_messages] }));
  return <BarChart title={`${label} a day over the last 30 days, ${format.count(summary.total_messages)} in all`} parts={[label]} data={data} labelEvery={7} />;
}

/** The whole hours up to now; hours without a request are not told of. */
function lastHours(denials: DenialRate | undefined, hours: number) {
  const known = new Map(denials?.hours.map((it) => [new Date(it.hour).getTime(), it]));
  const now = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
  const rows = Array.from({ length: hours }, (_, place) => {
    const at = now - (hours - 1 - place) * HOUR_MS;
    return { at, accepted: known.get(at)?.accepted ?? 0, denied: known.get(at)?.denied ?? 0 };
  });
  const sum = (name: "accepted" | "denied") => rows.reduce((total, row) => total + row[name], 0);
  return { rows, accepted: sum("accepted"), denied: sum("denied") };
}

function Hourly({ denials }: { readonly denials: DenialRate }) {
  const { rows, accepted, denied } = lastHours(denials, HOURS);
  const title = `Requests an hour over the last 48 hours: ${format.count(accepted)} accepted, ${format.count(denied)} refused`;
  const data = rows.map((row) => ({ label: format.time(new Date(row.at).toISOString()), values: [row.accepted, row.denied] }));
  return <BarChart title={title} parts={["Accepted", "Refused"]} data={data} labelEvery={16} />;
}

function Spread({ metric, spread }: { readonly metric: string; readonly spread: Distribution }) {
  const data = spread.buckets.map((it) => ({ label: bucketName(it.from, it.below), values: [it.subjects] }));
  return (
    <>
      <BarChart title={`Subjects by ${metric.toLowerCase()} this month`} parts={["Subjects"]} data={data} labelEvery={Math.ceil(data.length / 6)} />
      <dl className="hr-facts facts-small">
        <div><dt>Half used at most</dt><dd className="hr-number">{format.count(spread.p50)}</dd></div>
        <div><dt>90% at most</dt><dd className="hr-number">{format.count(spread.p90)}</dd></div>
        <div><dt>99% at most</dt><dd className="hr-number">{format.count(spread.p99)}</dd></div>
        <div><dt>Most</dt><dd className="hr-number">{format.count(spread.max)}</dd></div>
      </dl>
    </>
  );
}

function bucketName(from: number, below: number | null): string {
  if (below === null) return `${format.count(from)}+`;
  return below === from + 1 ? format.count(from) : `${format.count(from)}–${format.count(below - 1)}`;
}

function Codes({ denials }: { readonly denials: DenialRate }) {
  const label = useLabel();
  return (
    <Table label="Reasons of refusals" head={["Reason", "Refused#"]}>
      {denials.codes.map((code) => <tr key={code.name}><td>{label(code.name)}</td><td className="number">{format.count(code.denied)}</td></tr>)}
    </Table>
  );
}
