/** One server-sent event. A field that was not sent is empty. */
export interface ServerSentEvent {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** No event is longer; a stream that sends one is broken. */
const EVENT_CHARACTERS_MAX = 1_000_000;

/**
 * Splits text into server-sent events, however it arrives in pieces.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export class EventParser {
  #rest = "";

  /** The events that `text` completes. Throws when one is too long. */
  push(text: string): ServerSentEvent[] {
    const blocks = (this.#rest + text).split(/\r\n\r\n|\n\n|\r\r/);
    this.#rest = blocks.pop() ?? "";
    if (this.#rest.length > EVENT_CHARACTERS_MAX) throw new Error("the event is too long");
    return blocks.map(eventOf);
  }
}

function eventOf(block: string): ServerSentEvent {
  const fields = { id: "", event: "", data: "" };
  const lines: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") lines.push(value ?? "");
    if (name === "id" || name === "event") fields[name] = value ?? "";
  }
  return { ...fields, data: lines.join("\n") };
}
