import { format, useHeadroom, useLive, useSoon } from "@headroom/react";
import { useState } from "react";
import type { Delivery, Webhook } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { Field, FormDialog } from "../parts/Dialog.tsx";
import { Secret } from "../parts/Secret.tsx";
import { href } from "../route.ts";
import { messageOf, useTell } from "../toasts.tsx";
import { useEvery, useGet } from "../useApi.ts";

const TYPES = ["quota-denied", "quota-warning", "quota-reached", "abuse-detected", "spike-detected", "shard-recovered", "quota-consumed", "quota-reset", "quota-transferred"];
const REFRESH_MS = 5_000;

/** Who is told of what happens, and what was sent to them. */
export function Webhooks({ about }: { readonly about: string }) {
  return about === "" ? <All /> : <One id={about} />;
}

function All() {
  const webhooks = useGet<{ webhooks: readonly Webhook[] }>("/v1/webhooks");
  const [isAsking, setAsking] = useState(false);
  const [made, setMade] = useState<Webhook>();
  const add = <button type="button" className="hr-button" onClick={() => setAsking(true)}>New webhook</button>;
  return (
    <>
      {made?.secret && <Secret title={`Keep this secret of ${made.url} now: it is shown once. Deliveries are signed with it.`} secret={made.secret} />}
      <Card title="Receivers" actions={add}>
        <Loaded of={webhooks} isEmpty={(it) => it.webhooks.length === 0} empty="Nobody is told of what happens.">{(it) => <Receivers webhooks={it.webhooks} />}</Loaded>
      </Card>
      {isAsking && <NewWebhook onMade={(it) => (setMade(it), webhooks.refresh())} onClose={() => setAsking(false)} />}
    </>
  );
}

function Receivers({ webhooks }: { readonly webhooks: readonly Webhook[] }) {
  return (
    <Table label="Receivers" head={["Address", "Format", "Types", "About", "Status"]}>
      {webhooks.map((it) => (
        <tr key={it.id}>
          <td><a href={href("webhooks", it.id)}>{it.url}</a></td>
          <td>{it.format}</td>
          <td>{it.types.length === 0 ? "all" : it.types.join(", ")}</td>
          <td>{it.subject ?? "everybody"}</td>
          <td><Status webhook={it} /></td>
        </tr>
      ))}
    </Table>
  );
}

function Status({ webhook }: { readonly webhook: Webhook }) {
  if (webhook.enabled) return <Tag tone="good">on</Tag>;
  return <Tag tone={webhook.disabled_reason ? "bad" : "plain"}>{webhook.disabled_reason ?? "off"}</Tag>;
}

function NewWebhook({ onMade, onClose }: { readonly onMade: (webhook: Webhook) => void; readonly onClose: () => void }) {
  const { client } = useHeadroom();
  const onSubmit = async (form: FormData) => {
    const body = { url: String(form.get("url")), format: String(form.get("format")), types: form.getAll("types").map(String), subject: String(form.get("subject")) || null };
    onMade(await client.request<Webhook>("POST", "/v1/webhooks", { body }));
  };
  return (
    <FormDialog title="New webhook" submit="Make webhook" needsReason={false} onClose={onClose} onSubmit={onSubmit}>
      <Field label="Address"><input name="url" type="url" required placeholder="https://" maxLength={2000} autoComplete="off" /></Field>
      <Field label="Format"><select name="format"><option value="standard">Signed CloudEvents</option><option value="slack">Slack</option><option value="discord">Discord</option></select></Field>
      <fieldset className="types"><legend className="field-label">Types <span className="hr-quiet">none is all</span></legend>{TYPES.map((type) => <label key={type} className="check"><input type="checkbox" name="types" value={type} /> {type}</label>)}</fieldset>
      <Field label="Only about" hint="A subject and all below it; empty is everybody."><input name="subject" autoComplete="off" /></Field>
    </FormDialog>
  );
}

function One({ id }: { readonly id: string }) {
  const path = `/v1/webhooks/${encodeURIComponent(id)}`;
  const webhook = useGet<Webhook>(path);
  const deliveries = useGet<{ deliveries: readonly Delivery[] }>(`${path}/deliveries`);
  useEvery(REFRESH_MS, deliveries.refresh);
  const soon = useSoon(deliveries.refresh, 500);
  useLive({ onEvent: soon });
  const acts = useWebhookActs(path, () => (webhook.refresh(), deliveries.refresh()));
  return (
    <div className="columns">
      <Card title="Receiver" className="wide" actions={webhook.data && <Acts webhook={webhook.data} acts={acts} />}><Loaded of={webhook}>{(it) => <Receivers webhooks={[it]} />}</Loaded></Card>
      <Card title="Deliveries" className="wide"><Loaded of={deliveries} isEmpty={(it) => it.deliveries.length === 0} empty="Nothing was sent yet: deliveries begin with the next event that fits.">{(it) => <Deliveries rows={it.deliveries} onAgain={acts.again} />}</Loaded></Card>
    </div>
  );
}

interface WebhookActs {
  readonly turn: (webhook: Webhook) => Promise<void>;
  readonly remove: () => Promise<void>;
  readonly again: (eventId: string | null) => Promise<void>;
}

function useWebhookActs(path: string, refresh: () => void): WebhookActs {
  const { client } = useHeadroom();
  const tell = useTell();
  const act = async (text: string, acted: () => Promise<unknown>, undo?: () => Promise<unknown>) => {
    try {
      await acted();
      tell({ text, ...(undo ? { undo: () => undo().finally(refresh) } : {}) });
      refresh();
    } catch (error) {
      tell({ text: messageOf(error), isError: true });
    }
  };
  const put = ({ url, types, subject, format: form }: Webhook, enabled: boolean) =>
    client.request("PUT", path, { body: { url, types, subject, format: form, enabled } });
  return {
    turn: (it) => act(`Webhook turned ${it.enabled ? "off" : "on"}.`, () => put(it, !it.enabled), () => put(it, it.enabled)),
    remove: () => act("Webhook removed.", async () => {
      await client.request("DELETE", path);
      location.hash = href("webhooks");
    }),
    again: (eventId) => act("Sent again.", () => client.request("POST", `${path}/replay`, { body: eventId === null ? {} : { event_id: eventId } })),
  };
}

function Acts({ webhook, acts }: { readonly webhook: Webhook; readonly acts: WebhookActs }) {
  const [isAsking, setAsking] = useState(false);
  return (
    <>
      <button type="button" className="hr-button" onClick={() => void acts.again(null)}>Send failed again</button>
      <button type="button" className="hr-button" onClick={() => void acts.turn(webhook)}>{webhook.enabled ? "Turn off" : "Turn on"}</button>
      <button type="button" className="hr-button" onClick={() => setAsking(true)}>Remove</button>
      {isAsking && <FormDialog title={`Remove ${webhook.url}?`} submit="Remove" isDangerous needsReason={false} onClose={() => setAsking(false)} onSubmit={() => acts.remove()}><p className="hr-quiet">Its secret and its deliveries are gone with it.</p></FormDialog>}
    </>
  );
}

const TONES: Readonly<Record<string, string>> = { delivered: "good", failed: "bad", pending: "warn" };

function Deliveries({ rows, onAgain }: { readonly rows: readonly Delivery[]; readonly onAgain: (eventId: string) => Promise<void> }) {
  return (
    <Table label="Deliveries" head={["Queued", "Type", "State", "Attempts#", "Answer", "Next", ""]}>
      {rows.map((row) => (
        <tr key={row.event_id}>
          <td>{format.time(row.created_at)}</td>
          <td>{row.type}</td>
          <td><Tag tone={TONES[row.state] ?? "plain"}>{row.state}</Tag></td>
          <td className="number">{row.attempts}</td>
          <td>{row.last_status ?? ""} {row.last_error}</td>
          <td>{row.next_at ? format.away(row.next_at) : ""}</td>
          <td><button type="button" className="hr-button" aria-label={`Send again ${row.event_id}`} onClick={() => void onAgain(row.event_id)}>Send again</button></td>
        </tr>
      ))}
    </Table>
  );
}
