import { format, useHeadroom } from "@headroom/react";
import { useState } from "react";
import type { FormEvent } from "react";
import type { Act } from "../api.ts";
import { Card, Loaded, Table } from "../parts/Card.tsx";
import { messageOf, useTell } from "../toasts.tsx";
import { useGet } from "../useApi.ts";

interface Page {
  readonly acts: readonly Act[];
  readonly next_cursor: string | null;
}

type Filter = { readonly target: string; readonly actor: string };

/** What admins did, and why. */
export function Audit() {
  const [filter, setFilter] = useState<Filter>({ target: "", actor: "" });
  const onSubmit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setFilter({ target: String(form.get("target")).trim(), actor: String(form.get("actor")).trim() });
  };
  return (
    <>
      <form className="find" onSubmit={onSubmit} role="search">
        <input name="target" aria-label="Done to" placeholder="Done to: user:u_1, a plan, a key" autoComplete="off" />
        <input name="actor" aria-label="Done by" placeholder="Done by: a key's id, cli" autoComplete="off" />
        <button type="submit" className="hr-button">Filter</button>
      </form>
      <Acts key={JSON.stringify(filter)} filter={filter} />
    </>
  );
}

function Acts({ filter }: { readonly filter: Filter }) {
  const { client } = useHeadroom();
  const tell = useTell();
  const first = useGet<Page>("/v1/audit", { ...filter, limit: 50 });
  const [more, setMore] = useState<readonly Page[]>([]);
  const cursor = (more.at(-1) ?? first.data)?.next_cursor;
  const onMore = () =>
    client.get<Page>("/v1/audit", { query: { ...filter, limit: 50, cursor: cursor ?? undefined } })
      .then((page) => setMore([...more, page]), (error: unknown) => tell({ text: messageOf(error), isError: true }));
  return (
    <Card title="Acts, newest first">
      <Loaded of={first} isEmpty={(it) => it.acts.length === 0} empty="No act fits.">
        {(it) => (
          <Table label="Acts" head={["When", "Who", "What", "To", "Why", "Change"]}>
            {[it, ...more].flatMap((page) => page.acts).map((act) => <ActRow key={act.id} act={act} />)}
          </Table>
        )}
      </Loaded>
      {cursor && <button type="button" className="hr-button" onClick={() => void onMore()}>Show older</button>}
    </Card>
  );
}

function ActRow({ act }: { readonly act: Act }) {
  return (
    <tr>
      <td>{format.time(act.occurred_at)}</td>
      <td className="mono">{act.actor}</td>
      <td>{act.action}</td>
      <td>{act.target}</td>
      <td>{act.reason ?? <span className="hr-quiet">–</span>}</td>
      <td>{(act.before || act.after) && <Change act={act} />}</td>
    </tr>
  );
}

function Change({ act }: { readonly act: Act }) {
  return (
    <details>
      <summary aria-label={`Show what act ${act.id} changed`}>Show</summary>
      <pre className="change">{[["before", act.before], ["after", act.after]].map(([name, it]) => `${String(name)} ${JSON.stringify(it, null, 1)}`).join("\n")}</pre>
    </details>
  );
}
