import type { LimitState } from "./api.ts";
import { LEVELS, levelOf } from "./level.ts";
import type { Level } from "./level.ts";

/** What was dismissed of a limit: up to which level, and in which window. */
type Dismissed = { readonly level: Level; readonly resets_at: string | null };
type Dismissals = Readonly<Record<string, Dismissed>>;

const keyOf = (subject: string) => `headroom:dismissed:${subject}`;

/** Whether the warning was dismissed at this level or a higher one, in the same window. */
export function isDismissed(subject: string, limit: LimitState): boolean {
  const dismissed = read(subject)[limit.name];
  if (dismissed === undefined || dismissed.resets_at !== limit.resets_at) return false;
  return LEVELS.indexOf(dismissed.level) >= LEVELS.indexOf(levelOf(limit));
}

/** Remembers it, until the next level or the next window. */
export function dismiss(subject: string, limit: LimitState): void {
  const dismissed = { level: levelOf(limit), resets_at: limit.resets_at };
  try {
    localStorage.setItem(keyOf(subject), JSON.stringify({ ...read(subject), [limit.name]: dismissed }));
  } catch {
    // Without storage it is dismissed on this page only.
  }
}

function read(subject: string): Dismissals {
  try {
    return JSON.parse(localStorage.getItem(keyOf(subject)) ?? "{}") as Dismissals;
  } catch {
    return {};
  }
}
