import type { LiveEvent } from "./api.ts";
import type { Client } from "./client.ts";

export type HubState = "connecting" | "live" | "lost" | "refused";

interface Listener {
  readonly onEvent: (event: LiveEvent) => void;
  readonly onState: (state: HubState) => void;
}

/** One stream for all components that ask for the same: browsers open few connections to an origin. */
interface Hub {
  readonly listeners: Set<Listener>;
  readonly abort: AbortController;
  state: HubState;
}

const hubs = new WeakMap<Client, Map<string, Hub>>();

/** Follows `types` of `subject` until the returned function is called; empty is all. */
export function follow(client: Client, subject: string, types: string, listener: Listener): () => void {
  const ofClient = hubs.get(client) ?? new Map<string, Hub>();
  hubs.set(client, ofClient);
  const key = `${subject} ${types}`;
  const hub = ofClient.get(key) ?? open(client, subject, types);
  ofClient.set(key, hub);
  hub.listeners.add(listener);
  listener.onState(hub.state);
  return () => {
    hub.listeners.delete(listener);
    if (hub.listeners.size > 0) return;
    hub.abort.abort();
    if (ofClient.get(key) === hub) ofClient.delete(key);
  };
}

function open(client: Client, subject: string, types: string): Hub {
  const hub: Hub = { listeners: new Set(), abort: new AbortController(), state: "connecting" };
  const tell = (state: HubState) => {
    hub.state = state;
    for (const listener of hub.listeners) listener.onState(state);
  };
  client
    .stream({
      ...(subject === "" ? {} : { subject }),
      ...(types === "" ? {} : { types: types.split(",") }),
      signal: hub.abort.signal,
      onEvent: (event) => hub.listeners.forEach((listener) => listener.onEvent(event)),
      onOpen: () => tell("live"),
      onLost: () => tell("lost"),
    })
    .catch(() => hub.abort.signal.aborted || tell("refused"));
  return hub;
}
