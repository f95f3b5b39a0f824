import { format, useLabel } from "@headroom/react";
import { useState } from "react";
import type { FormEvent } from "react";
import { Card, Loaded, Table } from "../parts/Card.tsx";
import { href } from "../route.ts";
import { useCatalogue, useGet } from "../useApi.ts";
import { SubjectPage } from "./Subject.tsx";

interface TopSubjects {
  readonly subjects: readonly { readonly subject: string; readonly units: number; readonly share_permille: number; readonly events: number }[];
}

/** Finds a subject; those that use most are offered. */
export function Subjects({ about }: { readonly about: string }) {
  return about === "" ? <Find /> : <SubjectPage subject={about} />;
}

function Find() {
  const catalogue = useCatalogue();
  const onSubmit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    location.hash = href("subjects", String(new FormData(event.currentTarget).get("subject")).trim());
  };
  return (
    <>
      <form className="find" onSubmit={onSubmit} role="search">
        <input name="subject" required aria-label="Subject" placeholder="user:u_1 or org:acme/user:u_1" autoComplete="off" spellCheck={false} />
        <button type="submit" className="hr-button hr-button-strong">Open</button>
      </form>
      <Loaded of={catalogue}>{({ metrics }) => <Top metrics={metrics} />}</Loaded>
    </>
  );
}

function Top({ metrics }: { readonly metrics: readonly string[] }) {
  const label = useLabel();
  const [metric, setMetric] = useState(metrics[0] ?? "messages");
  const top = useGet<TopSubjects>("/v1/analytics/subjects", { metric, limit: 50 });
  const picker = <select aria-label="Metric" value={metric} onChange={(event) => setMetric(event.target.value)}>{metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}</select>;
  return (
    <Card title="Most used this month" actions={picker}>
      <Loaded of={top} isEmpty={(it) => it.subjects.length === 0} empty="No subject has used anything this month yet.">
        {(it) => (
          <Table label="Subjects that used most" head={["Subject", "Units#", "Share#", "Events#"]}>
            {it.subjects.map((row) => (
              <tr key={row.subject}>
                <td><a href={href("subjects", row.subject)}>{row.subject}</a></td>
                <td className="number">{format.count(row.units)}</td>
                <td className="number">{format.count(row.share_permille / 10)}%</td>
                <td className="number">{format.count(row.events)}</td>
              </tr>
            ))}
          </Table>
        )}
      </Loaded>
    </Card>
  );
}
