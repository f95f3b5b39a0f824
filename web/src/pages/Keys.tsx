import { format, useHeadroom } from "@headroom/react";
import { useState } from "react";
import type { Key, MadeKey } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { Field, FormDialog } from "../parts/Dialog.tsx";
import { Secret } from "../parts/Secret.tsx";
import { useTell } from "../toasts.tsx";
import { useGet } from "../useApi.ts";

const PERMISSIONS: Readonly<Record<string, string>> = {
  check: "ask without charging",
  consume: "charge",
  read: "read usage, logs and analytics",
  admin: "everything",
};

/** Who may call, what for, and where. */
export function Keys() {
  const keys = useGet<{ keys: readonly Key[] }>("/v1/keys");
  const [asked, ask] = useState<Key | "new">();
  const [made, setMade] = useState<MadeKey>();
  const add = <button type="button" className="hr-button" onClick={() => ask("new")}>New key</button>;
  return (
    <>
      {made && <Secret title={`Keep the key ${made.id} now: it is shown once.`} secret={made.key} />}
      <Card title="API keys" actions={add}>
        <Loaded of={keys} isEmpty={(it) => it.keys.length === 0} empty="There is only the key from the configuration.">{(it) => <KeyTable keys={it.keys} onRevoke={ask} />}</Loaded>
      </Card>
      {asked === "new" && <NewKey onMade={(it) => (setMade(it), keys.refresh())} onClose={() => ask(undefined)} />}
      {asked && asked !== "new" && <Revoke apiKey={asked} refresh={keys.refresh} onClose={() => ask(undefined)} />}
    </>
  );
}

function KeyTable({ keys, onRevoke }: { readonly keys: readonly Key[]; readonly onRevoke: (key: Key) => void }) {
  return (
    <Table label="API keys" head={["Name", "Id", "May", "Reaches", "Made", "Ends", "State", ""]}>
      {keys.map((key) => (
        <tr key={key.id}>
          <td>{key.name}</td>
          <td className="mono">{key.id}</td>
          <td>{key.permissions.join(", ")}</td>
          <td>{key.subject_prefix ?? "everything"}</td>
          <td>{format.date(key.created_at)}</td>
          <td>{key.expires_at ? format.time(key.expires_at) : "never"}</td>
          <td><State apiKey={key} /></td>
          <td>{key.revoked_at === null && <button type="button" className="hr-button" aria-label={`Revoke ${key.id}`} onClick={() => onRevoke(key)}>Revoke</button>}</td>
        </tr>
      ))}
    </Table>
  );
}

function State({ apiKey }: { readonly apiKey: Key }) {
  if (apiKey.revoked_at) return <Tag>revoked</Tag>;
  if (apiKey.expires_at && new Date(apiKey.expires_at) <= new Date()) return <Tag>expired</Tag>;
  return <Tag tone="good">in force</Tag>;
}

function NewKey({ onMade, onClose }: { readonly onMade: (key: MadeKey) => void; readonly onClose: () => void }) {
  const { client } = useHeadroom();
  const onSubmit = async (form: FormData) => {
    const ends = String(form.get("expires_at"));
    const body = {
      name: String(form.get("name")),
      permissions: form.getAll("permissions").map(String),
      subject_prefix: String(form.get("subject_prefix")) || null,
      expires_at: ends === "" ? null : new Date(`${ends}T23:59:59`).toISOString(),
    };
    onMade(await client.request<MadeKey>("POST", "/v1/keys", { body }));
  };
  return (
    <FormDialog title="New key" submit="Make key" needsReason={false} onClose={onClose} onSubmit={onSubmit}>
      <Field label="Name"><input name="name" required maxLength={100} autoComplete="off" /></Field>
      <fieldset className="types"><legend className="field-label">May</legend>{Object.entries(PERMISSIONS).map(([name, text]) => <label key={name} className="check"><input type="checkbox" name="permissions" value={name} /> {name} <span className="hr-quiet">{text}</span></label>)}</fieldset>
      <Field label="Reaches only" hint="A subject and all below it; empty is everything."><input name="subject_prefix" autoComplete="off" placeholder="org:acme" /></Field>
      <Field label="Ends on" hint="Without a day it never ends."><input name="expires_at" type="date" /></Field>
    </FormDialog>
  );
}

function Revoke({ apiKey, refresh, onClose }: { readonly apiKey: Key; readonly refresh: () => void; readonly onClose: () => void }) {
  const { client } = useHeadroom();
  const tell = useTell();
  const onSubmit = async () => {
    await client.request("DELETE", `/v1/keys/${encodeURIComponent(apiKey.id)}`);
    tell({ text: `Key ${apiKey.name} revoked.` });
    refresh();
  };
  return (
    <FormDialog title={`Revoke ${apiKey.name}?`} submit="Revoke" isDangerous needsReason={false} onClose={onClose} onSubmit={onSubmit}>
      <p className="hr-quiet">Whoever uses it is refused within seconds. This cannot be undone.</p>
    </FormDialog>
  );
}
