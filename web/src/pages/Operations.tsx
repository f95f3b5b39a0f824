import { format, useHeadroom, useLabel, useLive, useResource } from "@headroom/react";
import type { Incident, Readiness } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { sumOf, valuesOf } from "../prometheus.ts";
import { useEvery, useGet } from "../useApi.ts";

const REFRESH_MS = 5_000;

/** Counters that should stay at zero, and what it means when they do not. */
const WORRIES: readonly (readonly [metric: string, name: string, meaning: string])[] = [
  ["headroom_recoveries_total", "Recoveries", "Redis lost something and was set up again from Postgres"],
  ["headroom_lost_units_bound_total", "Units lost at most", "units that recoveries could not find again"],
  ["headroom_dead_letters_total", "Events set aside", "events that Postgres refused; see the table dead_letters"],
  ["headroom_degraded_total", "Allowed without a decision", "requests let through while Redis was away"],
  ["headroom_shed_total", "Requests shed", "requests refused since too many were in flight"],
  ["headroom_denials_dropped_total", "Refusals not written", "refusals that are missing from the log"],
];

/** Whether the stores answer, how far the ledger is behind, and what went wrong since this node started. */
export function Operations() {
  const { client } = useHeadroom();
  const readiness = useResource("readyz", (signal) => readReadiness(signal));
  const metrics = useResource("metrics", (signal) => client.text("/metrics", { signal }));
  useEvery(REFRESH_MS, () => (readiness.refresh(), metrics.refresh()));
  return (
    <div className="columns">
      <Card title="Stores"><Loaded of={readiness}>{(it) => <Stores readiness={it} />}</Loaded></Card>
      <Card title="Flush lag"><Loaded of={metrics}>{(it) => <Lag text={it} />}</Loaded></Card>
      <Card title="Since this node started" className="wide"><Loaded of={metrics}>{(it) => <Worries text={it} />}</Loaded></Card>
      <Incidents />
    </div>
  );
}

/** An answer of 503 says as much as one of 200. */
async function readReadiness(signal: AbortSignal): Promise<Readiness> {
  const response = await fetch("/readyz", { signal, cache: "no-store" });
  return (await response.json()) as Readiness;
}

function Stores({ readiness }: { readonly readiness: Readiness }) {
  const state = (it: "up" | "away") => <Tag tone={it === "up" ? "good" : "bad"}>{it}</Tag>;
  return (
    <dl className="hr-facts">
      <div><dt>Decisions</dt><dd>{readiness.ready ? <Tag tone="good">ready</Tag> : <Tag tone="bad">not ready</Tag>}</dd></div>
      <div><dt>Redis</dt><dd>{state(readiness.redis)}</dd></div>
      <div><dt>Postgres</dt><dd>{state(readiness.postgres)}</dd></div>
    </dl>
  );
}

function Lag({ text }: { readonly text: string }) {
  const shards = valuesOf(text, "headroom_flush_lag_events");
  if (shards.length === 0) return <p className="hr-empty">This node does not flush.</p>;
  return (
    <>
      <p><strong className="big hr-number">{format.count(sumOf(shards))}</strong> <span className="hr-quiet">events in Redis and not yet in Postgres</span></p>
      {shards.length > 1 && <Table label="Flush lag by shard" head={["Shard", "Events#"]}>{shards.map((it) => <tr key={it.labels}><td>{it.labels}</td><td className="number">{format.count(it.value)}</td></tr>)}</Table>}
    </>
  );
}

function Worries({ text }: { readonly text: string }) {
  return (
    <Table label="What went wrong" head={["What", "Count#", "Status", "Meaning"]}>
      {WORRIES.map(([metric, name, meaning]) => {
        const value = sumOf(valuesOf(text, metric));
        return <tr key={metric}><td>{name}</td><td className="number">{format.count(value)}</td><td>{value === 0 ? <Tag tone="good">fine</Tag> : <Tag tone="warn">look</Tag>}</td><td className="hr-quiet">{meaning}</td></tr>;
      })}
    </Table>
  );
}

/** Recoveries, as they happen. */
function Incidents() {
  const label = useLabel();
  const incidents = useGet<{ incidents: readonly Incident[] }>("/v1/incidents");
  useLive({ types: ["shard-recovered"], onEvent: incidents.refresh });
  return (
    <Card title="Incidents" className="wide">
      <Loaded of={incidents} isEmpty={(it) => it.incidents.length === 0} empty="Redis has never lost anything.">
        {(it) => (
          <Table label="Incidents" head={["When", "What", "Shard#", "Found again#", "Lost at most#"]}>
            {it.incidents.map((row) => (
              <tr key={row.id}>
                <td>{format.time(row.detected_at)}</td>
                <td>{label(row.reason)}</td>
                <td className="number">{row.shard}</td>
                <td className="number">{format.count(row.salvaged)}</td>
                <td className="number">{format.count(row.lost_at_most)}</td>
              </tr>
            ))}
          </Table>
        )}
      </Loaded>
    </Card>
  );
}
