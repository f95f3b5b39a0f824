import { Failure, Skeleton } from "@headroom/react";
import type { Resource } from "@headroom/react";
import { useId } from "react";
import type { ReactNode } from "react";

export interface CardProps {
  readonly title: string;
  readonly actions?: ReactNode;
  readonly className?: string;
  readonly children: ReactNode;
}

export function Card({ title, actions, className = "", children }: CardProps) {
  const id = useId();
  return (
    <section className={`hr-card ${className}`} aria-labelledby={id}>
      <header className="hr-row"><h2 id={id} className="hr-title">{title}</h2>{actions && <span className="hr-actions">{actions}</span>}</header>
      {children}
    </section>
  );
}

export interface LoadedProps<T> {
  readonly of: Resource<T>;
  readonly isEmpty?: (data: T) => boolean;
  readonly empty?: ReactNode;
  readonly children: (data: T) => ReactNode;
}

/** What was fetched, or that it is on its way, is empty or could not be had. */
export function Loaded<T>({ of, isEmpty, empty, children }: LoadedProps<T>) {
  const { data, error, refresh } = of;
  return (
    <>
      {error && <Failure error={error} isStale={data !== undefined} onRetry={refresh} />}
      {data === undefined && !error && <Skeleton />}
      {data !== undefined && (isEmpty?.(data) ? <p className="hr-empty">{empty}</p> : children(data))}
    </>
  );
}

export interface TableProps {
  readonly label: string;
  readonly head: readonly string[];
  readonly children: ReactNode;
}

/** A table that scrolls by itself where it is too wide; a column whose name ends in # holds numbers, one without a name buttons. */
export function Table({ label, head, children }: TableProps) {
  return (
    <div className="table-wrap" role="group" aria-label={label} tabIndex={0}>
      <table>
        <thead><tr>{head.map((name) => <Head key={name} name={name} />)}</tr></thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

function Head({ name }: { readonly name: string }) {
  if (name === "") return <td />;
  const isNumber = name.endsWith("#");
  return <th scope="col" className={isNumber ? "number" : ""}>{isNumber ? name.slice(0, -1) : name}</th>;
}

/** A coloured word, whose colour says nothing that the word does not. */
export function Tag({ tone = "plain", children }: { readonly tone?: string; readonly children: ReactNode }) {
  return <span className="tag" data-tone={tone}>{children}</span>;
}
