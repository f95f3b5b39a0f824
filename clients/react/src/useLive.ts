import { useEffect, useRef, useState } from "react";
import type { LiveEvent } from "./api.ts";
import { follow } from "./hub.ts";
import type { HubState } from "./hub.ts";
import { useHeadroom } from "./provider.tsx";

/** `off` when it was not asked for, `refused` when the credential may not follow. */
export type LiveState = "off" | HubState;

export interface LiveOptions {
  readonly enabled?: boolean;
  readonly subject?: string;
  readonly types?: readonly string[];
  readonly onEvent: (event: LiveEvent) => void;
}

/** Follows what happens while the component is there. */
export function useLive({ enabled = true, subject = "", types, onEvent }: LiveOptions): LiveState {
  const { client } = useHeadroom();
  const [state, setState] = useState<LiveState>("off");
  const latest = useRef(onEvent);
  latest.current = onEvent;
  const asked = types?.join(",") ?? "";
  useEffect(() => {
    if (!enabled) return setState("off");
    return follow(client, subject, asked, { onEvent: (event) => latest.current(event), onState: setState });
  }, [client, enabled, subject, asked]);
  return state;
}
