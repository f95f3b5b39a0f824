import { format, useHeadroom, useLabel, useLive, useSoon } from "@headroom/react";
import { useState } from "react";
import type { Alert, AlertRule, Alerts as AlertsBody } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { Field, FormDialog } from "../parts/Dialog.tsx";
import { href } from "../route.ts";
import { messageOf, useTell } from "../toasts.tsx";
import { useGet } from "../useApi.ts";

const KINDS: Readonly<Record<string, string>> = {
  denial_rate: "Refusals in a minute",
  concurrent: "Requests in one millisecond",
  bypass: "Usage reported without a decision",
  spike: "Times the average of seven days",
  near_limit: "Limits nearly or fully used",
};
const NEW: AlertRule = { kind: "denial_rate", threshold: 5, window_s: 60, cooldown_s: 600, subject: null, enabled: true };

type Asked = { readonly name: string; readonly rule: AlertRule } | undefined;

/** Rules, whether they have fired, and who is at risk. */
export function Alerts() {
  const alerts = useGet<AlertsBody>("/v1/alerts");
  const [asked, ask] = useState<Asked>();
  const soon = useSoon(alerts.refresh, 500);
  useLive({ types: ["abuse-detected", "spike-detected", "quota-warning"], onEvent: soon });
  const add = <button type="button" className="hr-button" onClick={() => ask({ name: "", rule: NEW })}>New rule</button>;
  return (
    <div className="columns">
      <Card title="Rules" className="wide" actions={add}><Loaded of={alerts} isEmpty={(it) => Object.keys(it.rules).length === 0} empty="No rules: nothing is looked for.">{(it) => <Rules body={it} onEdit={ask} refresh={alerts.refresh} />}</Loaded></Card>
      <Card title="Latest alerts"><Loaded of={alerts} isEmpty={(it) => it.alerts.length === 0} empty="No rule has fired.">{(it) => <Fired alerts={it.alerts} />}</Loaded></Card>
      <Card title="At risk"><Loaded of={alerts} isEmpty={(it) => it.risks.length === 0} empty="Nobody has raised an alert in the last day.">{(it) => <Risks risks={it.risks} />}</Loaded></Card>
      {asked && <RuleDialog {...asked} refresh={alerts.refresh} onClose={() => ask(undefined)} />}
    </div>
  );
}

interface RulesProps {
  readonly body: AlertsBody;
  readonly onEdit: (asked: Asked) => void;
  readonly refresh: () => void;
}

function Rules({ body, onEdit, refresh }: RulesProps) {
  const label = useLabel();
  const { client } = useHeadroom();
  const tell = useTell();
  const path = (name: string) => `/v1/alerts/${name}`;
  const put = (name: string, rule: AlertRule) => client.request("PUT", path(name), { body: rule }).finally(refresh);
  const act = (acted: Promise<unknown>, text: string, undo: () => Promise<unknown>) =>
    acted.then(() => tell({ text, undo }), (error: unknown) => tell({ text: messageOf(error), isError: true }));
  const turn = (name: string, rule: AlertRule) =>
    act(put(name, { ...rule, enabled: !rule.enabled }), `Rule ${name} turned ${rule.enabled ? "off" : "on"}.`, () => put(name, rule));
  const remove = (name: string, rule: AlertRule) =>
    act(client.request("DELETE", path(name)).finally(refresh), `Rule ${name} removed.`, () => put(name, rule));
  return (
    <Table label="Alert rules" head={["Rule", "Looks for", "From#", "Within", "Status", ""]}>
      {Object.entries(body.rules).map(([name, rule]) => (
        <tr key={name}>
          <td>{label(name)}{rule.subject && <span className="hr-quiet"> of {rule.subject}</span>}</td>
          <td>{KINDS[rule.kind] ?? rule.kind}</td>
          <td className="number">{format.count(rule.threshold)}</td>
          <td>{seconds(rule.window_s)}</td>
          <td><Status rule={rule} last={body.alerts.find((it) => it.rule === name)} /></td>
          <td className="row-actions">
            <button type="button" className="hr-button" aria-label={`Edit ${name}`} onClick={() => onEdit({ name, rule })}>Edit</button>
            <button type="button" className="hr-button" aria-label={`Turn ${rule.enabled ? "off" : "on"} ${name}`} onClick={() => void turn(name, rule)}>{rule.enabled ? "Turn off" : "Turn on"}</button>
            <button type="button" className="hr-button" aria-label={`Remove ${name}`} onClick={() => void remove(name, rule)}>Remove</button>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Status({ rule, last }: { readonly rule: AlertRule; readonly last: Alert | undefined }) {
  if (!rule.enabled) return <Tag>off</Tag>;
  if (last) return <Tag tone="bad">fired {format.away(last.fired_at)}</Tag>;
  return <Tag tone="good">quiet</Tag>;
}

function Fired({ alerts }: { readonly alerts: readonly Alert[] }) {
  const label = useLabel();
  return (
    <Table label="Latest alerts" head={["When", "Rule", "Subject", "Found#", "From#"]}>
      {alerts.map((alert) => (
        <tr key={alert.id}>
          <td>{format.time(alert.fired_at)}</td>
          <td>{label(alert.rule)}</td>
          <td><a href={href("subjects", alert.subject)}>{alert.subject}</a></td>
          <td className="number">{format.count(alert.value)}</td>
          <td className="number">{format.count(alert.threshold)}</td>
        </tr>
      ))}
    </Table>
  );
}

function Risks({ risks }: { readonly risks: AlertsBody["risks"] }) {
  return (
    <Table label="Subjects at risk" head={["Subject", "Score of 100#"]}>
      {risks.map((risk) => <tr key={risk.subject}><td><a href={href("subjects", risk.subject)}>{risk.subject}</a></td><td className="number">{risk.score}</td></tr>)}
    </Table>
  );
}

function RuleDialog({ name, rule, refresh, onClose }: { readonly name: string; readonly rule: AlertRule; readonly refresh: () => void; readonly onClose: () => void }) {
  const { client } = useHeadroom();
  const tell = useTell();
  const onSubmit = async (form: FormData) => {
    const put = name || String(form.get("name"));
    const number = (field: string) => Number(form.get(field));
    const body = { ...rule, kind: String(form.get("kind")), threshold: number("threshold"), window_s: number("window_s"), cooldown_s: number("cooldown_s"), subject: String(form.get("subject")) || null };
    await client.request("PUT", `/v1/alerts/${put}`, { body });
    tell({ text: `Rule ${put} saved.`, ...(name === "" ? {} : { undo: () => client.request("PUT", `/v1/alerts/${name}`, { body: rule }).finally(refresh) }) });
    refresh();
  };
  return (
    <FormDialog title={name === "" ? "New rule" : `Edit ${name}`} submit="Save rule" needsReason={false} onClose={onClose} onSubmit={onSubmit}>
      {name === "" && <Field label="Name" hint="Lowercase letters, digits and underscores."><input name="name" required pattern="[a-z0-9_]{1,64}" autoComplete="off" /></Field>}
      <Field label="Looks for"><select name="kind" defaultValue={rule.kind}>{Object.entries(KINDS).map(([kind, text]) => <option key={kind} value={kind}>{text}</option>)}</select></Field>
      <Field label="Fires from"><input name="threshold" type="number" min="1" max="2147483648" required defaultValue={rule.threshold} /></Field>
      <Field label="Looks back, in seconds"><input name="window_s" type="number" min="60" max="86400" required defaultValue={rule.window_s} /></Field>
      <Field label="Then silent about the subject, in seconds"><input name="cooldown_s" type="number" min="0" max="2678400" required defaultValue={rule.cooldown_s} /></Field>
      <Field label="Only about" hint="A subject and all below it; empty is everybody."><input name="subject" defaultValue={rule.subject ?? ""} autoComplete="off" /></Field>
    </FormDialog>
  );
}

function seconds(count: number): string {
  if (count % 86_400 === 0) return `${count / 86_400} d`;
  if (count % 3_600 === 0) return `${count / 3_600} h`;
  return count % 60 === 0 ? `${count / 60} min` : `${count} s`;
}
