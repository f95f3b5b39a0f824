import { format, useHeadroom, useLabel } from "@headroom/react";
import type { Period, Plan, PlanLimit } from "@headroom/react";
import { useState } from "react";
import type { Catalogue, NamedPlan } from "../api.ts";
import { Card, Loaded, Table } from "../parts/Card.tsx";
import { FormDialog } from "../parts/Dialog.tsx";
import { href } from "../route.ts";
import { useTell } from "../toasts.tsx";
import { lowered, useOver } from "./useOver.ts";

const PERIODS: readonly Period[] = ["minute", "hour", "day", "week", "month", "lifetime"];
const MODES = ["hard", "soft", "shadow"] as const;

export interface PlanEditorProps {
  readonly name: string;
  readonly plan: Plan;
  readonly catalogue: Catalogue;
  readonly refresh: () => void;
}

/** Changes a plan, and shows before who would be over. */
export function PlanEditor({ name, plan, catalogue, refresh }: PlanEditorProps) {
  const label = useLabel();
  const [limits, setLimits] = useState<readonly PlanLimit[]>(plan.limits ?? []);
  const [isSaving, setSaving] = useState(false);
  const change = (place: number, change: Partial<PlanLimit>) =>
    setLimits(limits.map((limit, at) => (at === place ? { ...limit, ...change } : limit)));
  const add = () => setLimits([...limits, { metric: catalogue.metrics[0] ?? "", period: "month", max: null, mode: "hard" }]);
  const isChanged = JSON.stringify(limits) !== JSON.stringify(plan.limits ?? []);
  return (
    <div className="columns">
      <Card title="Limits" className="wide">
        <Table label={`Limits of ${name}`} head={["Metric", "Period", "Most units", "Past it", ""]}>
          {limits.map((limit, place) => (
            <LimitRow key={place} limit={limit} number={place + 1} metrics={catalogue.metrics} onChange={(it) => change(place, it)} onRemove={() => setLimits(limits.filter((_, at) => at !== place))} />
          ))}
        </Table>
        <span className="hr-actions">
          <button type="button" className="hr-button" onClick={add}>Add limit</button>
          <button type="button" className="hr-button hr-button-strong" disabled={!isChanged} onClick={() => setSaving(true)}>Save…</button>
          {isChanged && <button type="button" className="hr-button hr-button-quiet" onClick={() => setLimits(plan.limits ?? [])}>Discard changes</button>}
        </span>
      </Card>
      <Preview name={name} before={plan.limits ?? []} after={limits} label={label} />
      {isSaving && <Save {...{ name, plan, catalogue, limits, refresh }} onClose={() => setSaving(false)} />}
    </div>
  );
}

interface LimitRowProps {
  readonly limit: PlanLimit;
  readonly number: number;
  readonly metrics: readonly string[];
  readonly onChange: (change: Partial<PlanLimit>) => void;
  readonly onRemove: () => void;
}

function LimitRow({ limit, number, metrics, onChange, onRemove }: LimitRowProps) {
  const label = useLabel();
  const periodOf = (name: string) => PERIODS.find((it) => it === name) ?? limit.period;
  const modeOf = (name: string) => MODES.find((it) => it === name) ?? "hard";
  return (
    <tr>
      <td><select aria-label={`Metric of limit ${number}`} value={limit.metric} onChange={(event) => onChange({ metric: event.target.value })}>{metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}</select></td>
      <td><select aria-label={`Period of limit ${number}`} value={limit.period} onChange={(event) => onChange({ period: periodOf(event.target.value) })}>{PERIODS.map((name) => <option key={name}>{name}</option>)}</select></td>
      <td><input aria-label={`Most units of limit ${number}`} type="number" min="0" placeholder="unlimited" value={limit.max ?? ""} onChange={(event) => onChange({ max: event.target.value === "" ? null : Number(event.target.value) })} /></td>
      <td><select aria-label={`Past limit ${number}`} value={limit.mode ?? "hard"} onChange={(event) => onChange({ mode: modeOf(event.target.value) })}>{MODES.map((name) => <option key={name}>{name}</option>)}</select></td>
      <td><button type="button" className="hr-button" aria-label={`Remove limit ${number}`} onClick={onRemove}>Remove</button></td>
    </tr>
  );
}

interface PreviewProps {
  readonly name: string;
  readonly before: readonly PlanLimit[];
  readonly after: readonly PlanLimit[];
  readonly label: (name: string) => string;
}

function Preview({ name, before, after, label }: PreviewProps) {
  const changes = lowered(before, after);
  const over = useOver(name, changes);
  if (changes.length === 0) return <Card title="Who would be over" className="wide"><p className="hr-empty">Lower a limit to see who would be over it.</p></Card>;
  return (
    <Card title="Who would be over" className="wide">
      <Loaded of={over} isEmpty={(it) => it.rows.length === 0 && !it.isPartial} empty="Nobody has used as much.">
        {(it) => (
          <>
            <p role="status">{format.count(it.rows.length)}{it.isPartial ? " or more" : ""} of this plan would be over.</p>
            <Table label="Who would be over" head={["Subject", "Metric", "Used#", "New limit#"]}>
              {it.rows.map((row) => (
                <tr key={`${row.subject} ${row.limit}`}>
                  <td><a href={href("subjects", row.subject)}>{row.subject}</a></td>
                  <td>{label(row.metric)}</td>
                  <td className="number">{format.count(row.used)}</td>
                  <td className="number">{format.count(row.max)}</td>
                </tr>
              ))}
            </Table>
          </>
        )}
      </Loaded>
    </Card>
  );
}

function Save(props: PlanEditorProps & { readonly limits: readonly PlanLimit[]; readonly onClose: () => void }) {
  const { name, plan, catalogue, limits, refresh, onClose } = props;
  const { client } = useHeadroom();
  const tell = useTell();
  const put = (body: Plan, version: number, reason: string) =>
    client.request<NamedPlan>("PUT", `/v1/plans/${encodeURIComponent(name)}`, { body, reason, headers: { "If-Match": `"${version}"` } });
  const onSubmit = async (_form: FormData, reason: string) => {
    const after = await put({ ...plan, limits }, catalogue.version, reason);
    tell({ text: `Plan ${name} saved.`, undo: () => put(plan, after.version, `undo: ${reason}`).finally(refresh) });
    refresh();
  };
  return (
    <FormDialog title={`Save the plan ${name}`} submit="Save" onClose={onClose} onSubmit={onSubmit}>
      <p className="hr-quiet">It holds at once for everybody on this plan. What was used stays counted.</p>
    </FormDialog>
  );
}
