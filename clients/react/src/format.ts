const number = new Intl.NumberFormat();
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const moment = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
];

/** `1234` as the reader's language writes it. */
export function count(value: number): string {
  return number.format(value);
}

/** "Dec 1", of an RFC 3339 instant or a date. */
export function date(instant: string): string {
  return day.format(new Date(instant));
}

/** "Dec 1, 14:05" */
export function time(instant: string): string {
  return moment.format(new Date(instant));
}

/** "in 3 days", "2 minutes ago" */
export function away(instant: string, now = Date.now()): string {
  const ms = new Date(instant).getTime() - now;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(ms) >= length) ?? ["second", 1_000];
  return relative.format(Math.trunc(ms / size), unit);
}

/** `minor` units of the currency, as a price. */
export function price(minor: number, currency: string): string {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  const whole = minor / 10 ** digits;
  const fraction = Number.isInteger(whole) ? 0 : digits;
  return new Intl.NumberFormat(undefined, {
    style: "currency",
    currency,
    minimumFractionDigits: fraction,
    maximumFractionDigits: digits,
  }).format(whole);
}
