import { HeadroomError, UsageAnalytics, UsageDashboardView, format, subjectPath, useLabel, useLive, useSoon, useUsage } from "@headroom/react";
import type { Log, Logs } from "@headroom/react";
import { useState } from "react";
import type { Grant, Reservation, Subject } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { useCatalogue, useGet } from "../useApi.ts";
import { GrantDialog, LimitDialog, PlanDialog, ResetDialog, useSubjectActs } from "./SubjectActs.tsx";
import type { SubjectActs } from "./SubjectActs.tsx";

type Asked = "" | "reset" | "grant" | "plan" | "limit";

/** Everything about one subject, and what an admin may do to it. */
export function SubjectPage({ subject }: { readonly subject: string }) {
  const usage = useUsage({ subject });
  const profile = useGet<Subject>(subjectPath(subject));
  const grants = useGet<{ grants: readonly Grant[] }>(subjectPath(subject, "/grants"));
  const reservations = useGet<{ reservations: readonly Reservation[] }>(subjectPath(subject, "/reservations"));
  const logs = useGet<Logs>(subjectPath(subject, "/logs"), { limit: 50 });
  const refresh = () => [usage, profile, grants, reservations, logs].forEach((it) => it.refresh());
  const soon = useSoon(() => (logs.refresh(), reservations.refresh(), grants.refresh()), 400);
  useLive({ subject, onEvent: soon });
  const acts = useSubjectActs(subject, refresh);
  const [asked, ask] = useState<Asked>("");
  if (isUnknown(profile.error) && isUnknown(usage.error)) return <p className="hr-empty">There is no subject {subject}.</p>;
  return (
    <>
      <div className="toolbar" role="group" aria-label="What to do">
        <button type="button" className="hr-button" onClick={() => ask("plan")} disabled={!profile.data}>Change plan</button>
        <button type="button" className="hr-button" onClick={() => ask("grant")}>Grant units</button>
        <button type="button" className="hr-button" onClick={() => ask("reset")}>Reset usage</button>
        <button type="button" className="hr-button" onClick={() => ask("limit")} disabled={!profile.data}>Set own limit</button>
      </div>
      <div className="columns">
        <UsageDashboardView usage={usage} title="Usage" />
        <Card title="Configuration"><Loaded of={profile}>{(it) => <Configuration profile={it} acts={acts} />}</Loaded></Card>
        <ByMetric subject={subject} />
        <div className="stack">
          <Card title="Grants"><Loaded of={grants} isEmpty={(it) => it.grants.length === 0} empty="No bonus units.">{(it) => <GrantTable grants={it.grants} acts={acts} />}</Loaded></Card>
          <Card title="Open reservations"><Loaded of={reservations} isEmpty={(it) => it.reservations.length === 0} empty="Nothing is held at the moment.">{(it) => <Held rows={it.reservations} />}</Loaded></Card>
        </div>
        <Card title="Log" className="wide"><Loaded of={logs} isEmpty={(it) => it.logs.length === 0} empty="Nothing has happened yet.">{(it) => <LogTable rows={it.logs} />}</Loaded></Card>
      </div>
      {asked === "reset" && <ResetDialog acts={acts} limits={usage.data?.limits ?? []} onClose={() => ask("")} />}
      {asked === "grant" && <GrantDialog acts={acts} onClose={() => ask("")} />}
      {asked === "plan" && profile.data && <PlanDialog acts={acts} profile={profile.data} onClose={() => ask("")} />}
      {asked === "limit" && profile.data && <LimitDialog acts={acts} profile={profile.data} onClose={() => ask("")} />}
    </>
  );

}

function isUnknown(error: Error | undefined): boolean {
  return error instanceof HeadroomError && error.status === 404;
}

function ByMetric({ subject }: { readonly subject: string }) {
  const label = useLabel();
  const metrics = useCatalogue().data?.metrics ?? [];
  const [chosen, setChosen] = useState("");
  const metric = chosen || metrics[0];
  if (metric === undefined) return null;
  return (
    <div className="by-metric">
      <UsageAnalytics key={metric} metric={metric} subject={subject} />
      {metrics.length > 1 && <select aria-label="Metric of the trend" value={metric} onChange={(event) => setChosen(event.target.value)}>{metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}</select>}
    </div>
  );
}

function Configuration({ profile, acts }: { readonly profile: Subject; readonly acts: SubjectActs }) {
  const label = useLabel();
  const plan = profile.plan ?? profile.effective.plan;
  const features = Object.entries(profile.effective.features);
  return (
    <>
      <dl className="hr-facts">
        <div><dt>Plan</dt><dd>{plan ? label(plan) : "None"} {profile.plan === null && <span className="hr-quiet hr-small">by default</span>}</dd></div>
        <div><dt>State</dt><dd>{profile.blocked ? <Tag tone="bad">blocked</Tag> : <Tag tone="good">active</Tag>}</dd></div>
        <div><dt>Time zone</dt><dd>{profile.time_zone}</dd></div>
        <div><dt>Months begin on day</dt><dd className="hr-number">{profile.anchor_day}</dd></div>
        {features.length > 0 && <div><dt>Features</dt><dd>{features.map(([name, isOn]) => <Tag key={name} tone={isOn ? "good" : "plain"}>{label(name)}{isOn ? "" : " off"}</Tag>)}</dd></div>}
      </dl>
      <h3 className="hr-subtitle">Limits of its own</h3>
      {profile.limits.length === 0 && <p className="hr-quiet hr-small">None: the plan's limits hold.</p>}
      {profile.limits.length > 0 && (
        <Table label="Limits of its own" head={["Metric", "Period", "Most#", ""]}>
          {profile.limits.map((limit) => (
            <tr key={`${limit.metric} ${limit.period} ${limit.each ?? ""}`}>
              <td>{label(limit.metric)}</td>
              <td>{limit.period}</td>
              <td className="number">{limit.max == null ? "unlimited" : format.count(limit.max)}</td>
              <td><button type="button" className="hr-button" aria-label={`Remove the limit of ${label(limit.metric)}`} onClick={() => void acts.removeLimit(profile, limit)}>Remove</button></td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

function GrantTable({ grants, acts }: { readonly grants: readonly Grant[]; readonly acts: SubjectActs }) {
  const label = useLabel();
  return (
    <Table label="Grants" head={["Metric", "Left#", "State", "Ends", "Note", ""]}>
      {grants.map((grant) => (
        <tr key={grant.id}>
          <td>{label(grant.metric)}</td>
          <td className="number">{format.count(grant.remaining)} of {format.count(grant.amount)}</td>
          <td><Tag tone={grant.state === "open" ? "good" : "plain"}>{label(grant.state)}</Tag></td>
          <td>{grant.expires_at ? format.date(grant.expires_at) : "never"}</td>
          <td>{grant.note}</td>
          <td>{grant.state === "open" && <button type="button" className="hr-button" aria-label={`Revoke grant ${grant.id}`} onClick={() => void acts.revoke(grant.id)}>Revoke</button>}</td>
        </tr>
      ))}
    </Table>
  );
}

function Held({ rows }: { readonly rows: readonly Reservation[] }) {
  return (
    <Table label="Open reservations" head={["What", "Units#", "Since", "Ends"]}>
      {rows.map((row) => (
        <tr key={row.reservation_id}>
          <td>{row.model ?? row.metric}</td>
          <td className="number">{format.count(row.amount)}</td>
          <td>{format.away(row.reserved_at)}</td>
          <td>{format.away(row.expires_at)}</td>
        </tr>
      ))}
    </Table>
  );
}

function LogTable({ rows }: { readonly rows: readonly Log[] }) {
  const label = useLabel();
  return (
    <Table label="Log" head={["When", "What", "Units", "Model", "Request"]}>
      {rows.map((row) => (
        <tr key={row.id}>
          <td><time dateTime={row.occurred_at}>{format.time(row.occurred_at)}</time></td>
          <td><Tag tone={row.kind === "denied" ? "bad" : "plain"}>{row.kind}</Tag>{row.code && <span className="hr-quiet hr-small"> {row.limit ?? label(row.code)}</span>}</td>
          <td className="hr-number">{Object.entries(row.charges).map(([metric, units]) => `${label(metric).toLowerCase()} ${format.count(units)}`).join(", ")}</td>
          <td>{row.model}</td>
          <td className="mono">{row.request_id.slice(0, 18)}</td>
        </tr>
      ))}
    </Table>
  );
}
