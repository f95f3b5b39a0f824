import { createContext, useContext, useMemo } from "react";
import type { ReactNode } from "react";
import type { Client } from "./client.ts";

/** What all components below share. */
export interface HeadroomContext {
  readonly client: Client;
  /** Whose usage is shown when a component names nobody. */
  readonly subject: string;
  /** What people call a metric, a plan or a feature; without, the name is spelled out. */
  readonly labels: Readonly<Record<string, string>>;
}

const Context = createContext<HeadroomContext | null>(null);

export interface HeadroomProviderProps {
  readonly client: Client;
  readonly subject?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly children: ReactNode;
}

const NO_LABELS = {};

/** Gives the hooks below it their client. */
export function HeadroomProvider(props: HeadroomProviderProps) {
  const { client, subject = "", labels = NO_LABELS, children } = props;
  const value = useMemo(() => ({ client, subject, labels }), [client, subject, labels]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

/** Throws outside of a {@link HeadroomProvider}. */
export function useHeadroom(): HeadroomContext {
  const context = useContext(Context);
  if (context === null) throw new Error("use this below a HeadroomProvider");
  return context;
}

/** What people call it: `premium_messages` is "Premium messages". */
export function useLabel(): (name: string) => string {
  const labels = useContext(Context)?.labels ?? NO_LABELS;
  return (name) => labelOf(name, labels);
}

export function labelOf(name: string, labels: Readonly<Record<string, string>> = NO_LABELS): string {
  const words = name.replace(/[_-]+/g, " ").trim();
  return labels[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}
