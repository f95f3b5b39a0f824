import { useHeadroom, useResource } from "@headroom/react";
import type { RequestOptions, Resource } from "@headroom/react";
import { useEffect, useRef } from "react";
import type { Catalogue } from "./api.ts";

/** What a `GET` answers; `null` asks nothing. */
export function useGet<T>(path: string | null, query: RequestOptions["query"] = {}): Resource<T> {
  const { client } = useHeadroom();
  const key = path === null ? null : `${path} ${JSON.stringify(query)}`;
  return useResource(key, (signal) => client.get<T>(path ?? "", { query, signal }));
}

export function useCatalogue(): Resource<Catalogue> {
  return useGet<Catalogue>("/v1/catalogue");
}

/** Reads it anew while the page is seen. */
export function useEvery(ms: number, refresh: () => void): void {
  const latest = useRef(refresh);
  latest.current = refresh;
  useEffect(() => {
    const timer = setInterval(() => document.hidden || latest.current(), ms);
    return () => clearInterval(timer);
  }, [ms]);
}

/** Makes a repetition of the same act known as one. */
export function onceOnly(): Record<string, string> {
  return { "Idempotency-Key": `"${crypto.randomUUID()}"` };
}
