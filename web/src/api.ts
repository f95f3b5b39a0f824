/** The answers that only admins and analysts get, as `openapi.json` describes them. */

import type { ModelRule, Period, Plan, PlanLimit, Plans } from "@headroom/react";

export interface Catalogue {
  readonly version: number;
  readonly metrics: readonly string[];
  readonly features: readonly string[];
  readonly default_plan: string | null;
  readonly plans: Plans;
  readonly models: readonly ModelRule[];
}

export interface NamedPlan extends Plan {
  readonly name: string;
  readonly version: number;
}

export interface DaySummary {
  readonly date: string;
  readonly total_messages: number;
  readonly premium_messages: number;
  readonly active_users: number;
}

export interface Summary {
  readonly active_users: number;
  readonly total_messages: number;
  readonly days: readonly DaySummary[];
}

export interface NamedCount {
  readonly name: string;
  readonly denied: number;
}

export interface DenialRate {
  readonly denied: number;
  readonly accepted: number;
  readonly denied_permille: number;
  readonly hours: readonly { readonly hour: string; readonly denied: number; readonly accepted: number }[];
  readonly codes: readonly NamedCount[];
  readonly models: readonly NamedCount[];
}

export interface Distribution {
  readonly subjects: number;
  readonly units: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  readonly buckets: readonly { readonly from: number; readonly below: number | null; readonly subjects: number }[];
}

export interface NearLimit {
  readonly subject: string;
  readonly limit: string;
  readonly used: number;
  readonly max: number;
  readonly used_permille: number;
  readonly resets_at: string;
}

/** What is configured for a subject: the body of a `PUT`. */
export interface Profile {
  readonly plan: string | null;
  readonly limits: readonly PlanLimit[];
  readonly features: Readonly<Record<string, boolean>>;
  readonly time_zone: string;
  readonly anchor_day: number;
  readonly blocked: boolean;
}

export interface Subject extends Profile {
  readonly subject: string;
  readonly version: number;
  readonly created_at: string | null;
  readonly effective: { readonly plan: string | null; readonly features: Readonly<Record<string, boolean>> };
}

export interface Grant {
  readonly id: number;
  readonly metric: string;
  readonly amount: number;
  readonly remaining: number;
  readonly source: string;
  readonly state: string;
  readonly note: string | null;
  readonly created_at: string;
  readonly created_by: string;
  readonly expires_at: string | null;
}

export interface Reservation {
  readonly reservation_id: string;
  readonly amount: number;
  readonly metric?: string | null;
  readonly model?: string | null;
  readonly reserved_at: string;
  readonly expires_at: string;
}

export interface Cleared {
  readonly metric: string;
  readonly period: Period;
  readonly units: number;
}

export interface AlertRule {
  readonly kind: string;
  readonly threshold: number;
  readonly window_s: number;
  readonly cooldown_s: number;
  readonly subject?: string | null;
  readonly enabled: boolean;
}

export interface Alert {
  readonly id: string;
  readonly rule: string;
  readonly kind: string;
  readonly subject: string;
  readonly value: number;
  readonly threshold: number;
  readonly fired_at: string;
}

export interface Alerts {
  readonly rules: Readonly<Record<string, AlertRule>>;
  readonly alerts: readonly Alert[];
  readonly risks: readonly { readonly subject: string; readonly score: number }[];
}

export interface Webhook {
  readonly id: string;
  readonly url: string;
  readonly types: readonly string[];
  readonly subject: string | null;
  readonly format: string;
  readonly enabled: boolean;
  readonly disabled_reason: string | null;
  readonly secret?: string | null;
}

export interface Delivery {
  readonly event_id: string;
  readonly type: string;
  readonly state: string;
  readonly attempts: number;
  readonly next_at: string | null;
  readonly last_status: number | null;
  readonly last_error: string | null;
  readonly created_at: string;
  readonly ended_at: string | null;
}

export interface Act {
  readonly id: number;
  readonly occurred_at: string;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly reason: string | null;
  readonly before: Readonly<Record<string, unknown>> | null;
  readonly after: Readonly<Record<string, unknown>> | null;
}

export interface Key {
  readonly id: string;
  readonly name: string;
  readonly permissions: readonly string[];
  readonly subject_prefix: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly revoked_at: string | null;
}

export interface MadeKey {
  readonly id: string;
  readonly key: string;
}

export interface Incident {
  readonly id: string;
  readonly shard: number;
  readonly detected_at: string;
  readonly reason: string;
  readonly salvaged: number;
  readonly lost_at_most: number;
}

export interface Readiness {
  readonly ready: boolean;
  readonly redis: "up" | "away";
  readonly postgres: "up" | "away";
}
