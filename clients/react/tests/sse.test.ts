import { expect, test } from "vitest";
import { EventParser } from "../src/sse.ts";

test.each([1, 2, 3, 7, 1_000])("events are the same when they arrive in pieces of %i", (size) => {
  const text = "retry: 1000\n\nid: 1.2\nevent: quota-denied\ndata: {\"a\":\ndata: 1}\n\n:\n\nid: 2.0\r\ndata:x\r\n\r\nid: 3";
  const parser = new EventParser();
  const events = [];
  for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));

  expect(events.filter((event) => event.id !== "")).toEqual([
    { id: "1.2", event: "quota-denied", data: '{"a":\n1}' },
    { id: "2.0", event: "", data: "x" },
  ]);
});

test("a stream whose event never ends is given up", () => {
  expect(() => new EventParser().push(`data: ${"x".repeat(1_000_001)}`)).toThrow("too long");
});
