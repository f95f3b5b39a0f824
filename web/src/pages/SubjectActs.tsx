import { most, span, subjectPath, taken, useHeadroom, useLabel } from "@headroom/react";
import type { Client, LimitState, PlanLimit, Usage } from "@headroom/react";
import { format } from "@headroom/react";
import type { Cleared, Grant, Profile, Subject } from "../api.ts";
import { Field, FormDialog } from "../parts/Dialog.tsx";
import { messageOf, useTell } from "../toasts.tsx";
import { onceOnly, useCatalogue } from "../useApi.ts";

/** What an admin may do to a subject. Each tells what was done and, where it can, how it is undone. */
export interface SubjectActs {
  readonly subject: string;
  readonly reset: (limit: LimitState | undefined, reason: string) => Promise<void>;
  readonly grant: (order: { metric: string; amount: number; expires_at?: string; note: string }, reason: string) => Promise<void>;
  readonly revoke: (id: number) => Promise<void>;
  readonly configure: (before: Subject, change: Partial<Profile>, done: string, reason: string) => Promise<void>;
  readonly removeLimit: (before: Subject, limit: PlanLimit) => Promise<void>;
}

export function useSubjectActs(subject: string, refresh: () => void): SubjectActs {
  const { client } = useHeadroom();
  const tell = useTell();
  const undoing = (undo: () => Promise<unknown>) => () => undo().finally(refresh);
  const configure: SubjectActs["configure"] = async (before, change, done, reason) => {
    const after = await put(client, before, { ...profileOf(before), ...change }, reason);
    const undo = undoing(() => put(client, after, profileOf(before), `undo: ${reason}`));
    tell({ text: done, undo });
    refresh();
  };
  return {
    subject,
    configure,
    removeLimit: async (before, limit) => {
      const limits = before.limits.filter((it) => it !== limit);
      await configure(before, { limits }, `Limit of ${limit.metric} removed.`, "limit removed").catch((error: unknown) => tell({ text: messageOf(error), isError: true }));
    },
    reset: async (limit, reason) => {
      const query = limit ? { metric: limit.metric, period: limit.period } : {};
      const { cleared } = await client.request<{ cleared: readonly Cleared[] }>("DELETE", subjectPath(subject, "/usage"), { query, reason, headers: onceOnly() });
      const units = cleared.reduce((sum, it) => sum + it.units, 0);
      const undo = undoing(() => giveBack(client, subject, cleared));
      tell({ text: `Usage reset: ${format.count(units)} units cleared.`, ...(units > 0 ? { undo } : {}) });
      refresh();
    },
    grant: async (order, reason) => {
      const grant = await client.request<Grant>("POST", subjectPath(subject, "/grants"), { body: order, reason, headers: onceOnly() });
      const undo = undoing(() => revoke(client, subject, grant.id, "undo"));
      tell({ text: `${format.count(grant.amount)} bonus units granted.`, undo });
      refresh();
    },
    revoke: async (id) => {
      try {
        await revoke(client, subject, id, "revoked on the dashboard");
        tell({ text: "Grant revoked." });
      } catch (error) {
        tell({ text: messageOf(error), isError: true });
      }
      refresh();
    },
  };
}

function put(client: Client, before: Subject, profile: Profile, reason: string): Promise<Subject> {
  const headers = { "If-Match": `"${before.version}"` };
  return client.request<Subject>("PUT", subjectPath(before.subject), { body: profile, reason, headers });
}

function profileOf({ plan, limits, features, time_zone, anchor_day, blocked }: Subject): Profile {
  return { plan, limits, features, time_zone, anchor_day, blocked };
}

function revoke(client: Client, subject: string, id: number, reason: string): Promise<Grant> {
  return client.request<Grant>("DELETE", subjectPath(subject, `/grants/${id}`), { reason, headers: onceOnly() });
}

/** Adds what was cleared to what was used since. */
async function giveBack(client: Client, subject: string, cleared: readonly Cleared[]): Promise<void> {
  const { limits } = await client.get<Usage>(subjectPath(subject, "/usage"));
  for (const { metric, period, units } of cleared.filter((it) => it.units > 0)) {
    const now = limits.find((it) => it.subject === subject && it.metric === metric && it.period === period);
    const body = { value: units + (now?.used ?? 0), period };
    await client.request("PUT", subjectPath(subject, `/usage/${metric}`), { body, reason: "undo of a reset", headers: onceOnly() });
  }
}

interface ActProps {
  readonly acts: SubjectActs;
  readonly onClose: () => void;
}

export function ResetDialog({ acts, limits, onClose }: ActProps & { readonly limits: readonly LimitState[] }) {
  const label = useLabel();
  const own = limits.filter((limit) => limit.subject === acts.subject);
  const onSubmit = (form: FormData, reason: string) => acts.reset(own[Number(form.get("limit"))], reason);
  return (
    <FormDialog title={`Reset usage of ${acts.subject}`} submit="Reset usage" isDangerous onClose={onClose} onSubmit={onSubmit}>
      <Field label="What" hint="Limits that never reset are cleared only when they are chosen by name.">
        <select name="limit" defaultValue="all">
          <option value="all">Everything that resets by itself</option>
          {own.map((limit, place) => <option key={limit.name} value={place}>{label(limit.metric)} {span(limit)}: {format.count(taken(limit))}{most(limit) === null ? "" : ` of ${format.count(most(limit) ?? 0)}`}</option>)}
        </select>
      </Field>
    </FormDialog>
  );
}

export function GrantDialog({ acts, onClose }: ActProps) {
  const label = useLabel();
  const metrics = useCatalogue().data?.metrics ?? [];
  const onSubmit = (form: FormData, reason: string) => {
    const ends = String(form.get("expires_at"));
    const order = { metric: String(form.get("metric")), amount: Number(form.get("amount")), note: reason };
    return acts.grant(ends === "" ? order : { ...order, expires_at: new Date(`${ends}T23:59:59`).toISOString() }, reason);
  };
  return (
    <FormDialog title={`Grant bonus units to ${acts.subject}`} submit="Grant" onClose={onClose} onSubmit={onSubmit}>
      <Field label="Metric"><select name="metric">{metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}</select></Field>
      <Field label="Units"><input name="amount" type="number" min="1" max="9007199254740991" step="1" required /></Field>
      <Field label="Ends on" hint="Without a day they never end."><input name="expires_at" type="date" /></Field>
    </FormDialog>
  );
}

export function PlanDialog({ acts, profile, onClose }: ActProps & { readonly profile: Subject }) {
  const label = useLabel();
  const plans = useCatalogue().data?.plans ?? {};
  const title = (name: string) => plans[name]?.title ?? label(name);
  const onSubmit = (form: FormData, reason: string) => {
    const plan = String(form.get("plan")) || null;
    return acts.configure(profile, { plan, blocked: form.get("blocked") !== null }, `Plan is now ${plan ? title(plan) : "the default"}.`, reason);
  };
  return (
    <FormDialog title={`Change the plan of ${acts.subject}`} submit="Change plan" onClose={onClose} onSubmit={onSubmit}>
      <Field label="Plan" hint={`Now: ${profile.plan ?? `${profile.effective.plan ?? "none"}, by default`}. What was used stays counted.`}>
        <select key={Object.keys(plans).length} name="plan" defaultValue={profile.plan ?? ""}>
          <option value="">The default</option>
          {Object.keys(plans).map((name) => <option key={name} value={name}>{title(name)}</option>)}
        </select>
      </Field>
      <label className="check"><input type="checkbox" name="blocked" defaultChecked={profile.blocked} /> Refuse every request of this subject</label>
    </FormDialog>
  );
}

const PERIODS = ["minute", "hour", "day", "week", "month", "lifetime"] as const;

export function LimitDialog({ acts, profile, onClose }: ActProps & { readonly profile: Subject }) {
  const label = useLabel();
  const metrics = useCatalogue().data?.metrics ?? [];
  const onSubmit = (form: FormData, reason: string) => {
    const metric = String(form.get("metric"));
    const period = PERIODS.find((it) => it === form.get("period")) ?? "month";
    const max = String(form.get("max")) === "" ? null : Number(form.get("max"));
    const others = profile.limits.filter((it) => it.metric !== metric || it.period !== period || it.each);
    return acts.configure(profile, { limits: [...others, { metric, period, max }] }, `Own limit of ${label(metric).toLowerCase()} set.`, reason);
  };
  return (
    <FormDialog title={`Set a limit of ${acts.subject} alone`} submit="Set limit" onClose={onClose} onSubmit={onSubmit}>
      <Field label="Metric"><select name="metric">{metrics.map((name) => <option key={name} value={name}>{label(name)}</option>)}</select></Field>
      <Field label="Period"><select name="period" defaultValue="month">{PERIODS.map((name) => <option key={name}>{name}</option>)}</select></Field>
      <Field label="Most units" hint="Empty is unlimited, 0 is blocked."><input name="max" type="number" min="0" step="1" /></Field>
    </FormDialog>
  );
}
