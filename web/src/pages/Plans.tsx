import { format, useHeadroom, useLabel } from "@headroom/react";
import type { Plan } from "@headroom/react";
import { useState } from "react";
import type { Catalogue } from "../api.ts";
import { Card, Loaded, Table, Tag } from "../parts/Card.tsx";
import { Field, FormDialog } from "../parts/Dialog.tsx";
import { href } from "../route.ts";
import { useCatalogue } from "../useApi.ts";
import { PlanEditor } from "./PlanEditor.tsx";

/** All plans, and an editor for each. */
export function Plans({ about }: { readonly about: string }) {
  const catalogue = useCatalogue();
  const [isAsking, setAsking] = useState(false);
  return (
    <>
      <div className="toolbar">
        {about !== "" && <a className="hr-button" href={href("plans")}>All plans</a>}
        {about === "" && <button type="button" className="hr-button" onClick={() => setAsking(true)}>New plan</button>}
      </div>
      <Loaded of={catalogue}>
        {(it) => about === "" ? <All catalogue={it} /> : <Edit name={about} catalogue={it} refresh={catalogue.refresh} />}
      </Loaded>
      {isAsking && catalogue.data && <NewPlan version={catalogue.data.version} onClose={() => setAsking(false)} />}
    </>
  );
}

function All({ catalogue }: { readonly catalogue: Catalogue }) {
  return (
    <div className="columns">
      {Object.entries(catalogue.plans).map(([name, plan]) => <PlanCard key={name} name={name} plan={plan} isDefault={name === catalogue.default_plan} />)}
    </div>
  );
}

function PlanCard({ name, plan, isDefault }: { readonly name: string; readonly plan: Plan; readonly isDefault: boolean }) {
  const label = useLabel();
  return (
    <Card title={plan.title ?? label(name)} actions={<a className="hr-button" href={href("plans", name)} aria-label={`Edit ${name}`}>Edit</a>}>
      <p className="hr-quiet hr-small"><code>{name}</code> {isDefault && <Tag>default</Tag>} {plan.price != null && `${format.count(plan.price)} minor units a month`}</p>
      <Table label={`Limits of ${name}`} head={["Metric", "Period", "Most#", "Past it"]}>
        {plan.limits?.map((limit) => (
          <tr key={`${limit.metric} ${limit.period} ${limit.each ?? ""}`}>
            <td>{label(limit.metric)}{limit.each && <span className="hr-quiet"> each {limit.each}</span>}</td>
            <td>{limit.period}</td>
            <td className="number">{limit.max == null ? "unlimited" : format.count(limit.max)}</td>
            <td>{limit.mode ?? "hard"}</td>
          </tr>
        ))}
      </Table>
    </Card>
  );
}

function Edit(props: { readonly name: string; readonly catalogue: Catalogue; readonly refresh: () => void }) {
  const plan = props.catalogue.plans[props.name];
  if (plan === undefined) return <p className="hr-empty">There is no plan {props.name}.</p>;
  return <PlanEditor key={props.catalogue.version} {...props} plan={plan} />;
}

function NewPlan({ version, onClose }: { readonly version: number; readonly onClose: () => void }) {
  const { client } = useHeadroom();
  const onSubmit = async (form: FormData, reason: string) => {
    const name = String(form.get("name"));
    const headers = { "If-None-Match": "*" };
    await client.request("PUT", `/v1/plans/${encodeURIComponent(name)}`, { body: { limits: [] }, reason, headers });
    location.hash = href("plans", name);
  };
  return (
    <FormDialog title="New plan" submit="Add plan" onClose={onClose} onSubmit={onSubmit}>
      <Field label="Name" hint={`Added to version ${version} of the catalogue, without limits at first.`}><input name="name" required pattern="[A-Za-z0-9_.\-]{1,64}" autoComplete="off" /></Field>
    </FormDialog>
  );
}
