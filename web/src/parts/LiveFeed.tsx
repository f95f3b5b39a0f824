import { LiveMark, format, useLabel, useLive } from "@headroom/react";
import type { LiveEvent } from "@headroom/react";
import { useState } from "react";
import { href } from "../route.ts";
import { Card, Tag } from "./Card.tsx";

const EVENTS_MAX = 60;

const SAYS: Readonly<Record<string, readonly [text: string, tone: string]>> = {
  "quota-consumed": ["used", "good"],
  "quota-denied": ["denied", "bad"],
  "quota-warning": ["near limit", "warn"],
  "quota-reached": ["limit reached", "bad"],
  "quota-reserved": ["reserved", "plain"],
  "quota-released": ["released", "plain"],
  "quota-refunded": ["refunded", "plain"],
  "quota-set": ["set", "plain"],
  "quota-reset": ["reset", "plain"],
  "quota-transferred": ["gift", "plain"],
  "quota-rolled-over": ["carried over", "plain"],
  "abuse-detected": ["abuse", "bad"],
  "spike-detected": ["spike", "warn"],
  "shard-recovered": ["recovery", "warn"],
};

/** What happens, as it happens. It can be paused, since it moves by itself. */
export function LiveFeed() {
  const [events, setEvents] = useState<readonly LiveEvent[]>([]);
  const [isPaused, setPaused] = useState(false);
  const state = useLive({
    enabled: !isPaused,
    onEvent: (event) => setEvents((before) => [event, ...before].slice(0, EVENTS_MAX)),
  });
  const pause = <button type="button" className="hr-button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>{isPaused ? "Resume" : "Pause"}</button>;
  return (
    <Card title="Live activity" className="live" actions={<>{isPaused ? <span className="hr-quiet hr-small">Paused</span> : <LiveMark state={state} />}{pause}</>}>
      {events.length === 0 && <p className="hr-empty">Nothing has happened since this page was opened.</p>}
      <ol className="feed" tabIndex={0} aria-label="Live activity, newest first">
        {events.map((event) => <Item key={event.id} event={event} />)}
      </ol>
    </Card>
  );
}

function Item({ event }: { readonly event: LiveEvent }) {
  const label = useLabel();
  const [text, tone] = SAYS[event.type] ?? [event.type, "plain"];
  return (
    <li data-type={event.type}>
      <time className="hr-quiet hr-number" dateTime={event.time}>{new Date(event.time).toLocaleTimeString()}</time>
      <Tag tone={tone}>{text}</Tag>
      <span className="feed-about">
        {event.subject ? <a href={href("subjects", event.subject)}>{event.subject}</a> : <span className="hr-quiet">service</span>}
        <span className="hr-quiet feed-detail">{detailOf(event, label)}</span>
      </span>
    </li>
  );
}

/** What else is known, in a few words. */
function detailOf({ type, data }: LiveEvent, label: (name: string) => string): string {
  const text = (name: string) => (typeof data[name] === "string" ? data[name] : "");
  const number = (name: string) => (typeof data[name] === "number" ? format.count(data[name]) : "");
  if (type === "quota-denied") return [text("limit") || label(text("code")), number("amount") && `asked for ${number("amount")}`, text("model")].filter(Boolean).join(" · ");
  if (type === "quota-warning" || type === "quota-reached") {
    if (text("rule")) return label(text("rule"));
    return `${label(text("metric"))}: ${number("used")} of ${number("max")}`;
  }
  if (type === "abuse-detected" || type === "spike-detected") return `${label(text("rule"))}: ${number("value")}`;
  return [chargesOf(data["charges"], label), text("model"), text("reason")].filter(Boolean).join(" · ");
}

function chargesOf(charges: unknown, label: (name: string) => string): string {
  if (typeof charges !== "object" || charges === null) return "";
  const units = Object.entries(charges).filter(([, value]) => typeof value === "number");
  return units.map(([metric, value]) => `${label(metric).toLowerCase()} ${format.count(Number(value))}`).join(", ");
}
