/** The answers that the components show, as `openapi.json` describes them. */

export type Period = "minute" | "hour" | "day" | "week" | "month" | "lifetime";
export type Warning = "none" | "warning" | "critical";

/** One limit, as it is now. Counts are whole units; instants are RFC 3339. */
export interface LimitState {
  readonly name: string;
  readonly subject: string;
  readonly metric: string;
  readonly period: Period;
  /** Absent when the limit is unlimited. */
  readonly limit?: number | null;
  readonly unlimited?: boolean | null;
  readonly used: number;
  readonly reserved: number;
  readonly remaining?: number | null;
  readonly granted_remaining: number;
  readonly carried?: number | null;
  readonly overage?: number | null;
  /** `null` for a lifetime limit. */
  readonly resets_at: string | null;
  readonly mode: "hard" | "soft" | "shadow";
  readonly warning: Warning;
}

/** `GET /v1/subjects/{subject}/usage` */
export interface Usage {
  readonly subject: string;
  readonly plan: string;
  readonly limits: readonly LimitState[];
  readonly features: Readonly<Record<string, boolean>>;
  readonly blocked: boolean;
  readonly upgrade_url?: string | null;
  readonly last_reset_at: string | null;
}

/** A rule of a plan; without `max` the metric is unlimited. */
export interface PlanLimit {
  readonly metric: string;
  readonly period: Period;
  readonly max?: number | null;
  readonly mode?: "hard" | "soft" | "shadow";
  readonly each?: string | null;
}

/** A plan of the catalogue. `price` is a month's, in minor units of the currency. */
export interface Plan {
  readonly title?: string | null;
  readonly price?: number | null;
  readonly listed?: boolean | null;
  readonly features?: readonly string[];
  readonly limits?: readonly PlanLimit[];
  readonly upgrade_url?: string | null;
}

export type Plans = Readonly<Record<string, Plan>>;

/** What one use of these models charges. Names may be globs. */
export interface ModelRule {
  readonly names: readonly string[];
  readonly charges: Readonly<Record<string, number>>;
  readonly feature?: string | null;
  readonly anonymous?: boolean;
}

export type Hint =
  | { readonly kind: "plan"; readonly plan: string }
  | {
      readonly kind: "model";
      readonly model: string;
      readonly charges: number;
      readonly cheaper: string;
      readonly cheaper_charges: number;
    };

export interface ForecastLimit {
  readonly name: string;
  readonly used: number;
  readonly remaining: number | null;
  readonly resets_at: string | null;
  readonly exhausts_at: string | null;
  readonly reason: "too_few_days" | "no_usage" | "resets_before" | "unlimited" | "too_far" | null;
  readonly days_until_limit: number | null;
  readonly recommended_daily_budget: number | null;
}

/** `GET /v1/subjects/{subject}/forecast` */
export interface Forecast {
  readonly subject: string;
  readonly metric: string;
  readonly average_daily_milliunits: number;
  readonly trend: "increasing" | "decreasing" | "stable";
  readonly days: number;
  readonly exhausts_at: string | null;
  readonly limits: readonly ForecastLimit[];
  readonly hints: readonly Hint[];
}

/** A row of the log: an event, or a refusal (`kind: "denied"`). */
export interface Log {
  readonly id: string;
  readonly occurred_at: string;
  readonly kind: string;
  readonly subject: string;
  readonly plan: string;
  readonly model: string | null;
  readonly charges: Readonly<Record<string, number>>;
  readonly amount: number | null;
  readonly code: string | null;
  readonly limit: string | null;
  readonly request_id: string;
}

export interface Logs {
  readonly logs: readonly Log[];
  readonly next_cursor: string | null;
}

/** A `CloudEvent` of `GET /v1/stream`. */
export interface LiveEvent {
  readonly id: string;
  readonly type: string;
  readonly subject?: string;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** An error of the service (RFC 9457). */
export interface Problem {
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly status: number;
  readonly request_id: string;
}
