import { useCallback, useEffect, useRef, useState } from "react";

/** Something that is fetched: what is known of it, and what went wrong last. */
export interface Resource<T> {
  /** The latest answer; it stays while it is fetched anew, and when that fails. */
  readonly data: T | undefined;
  readonly error: Error | undefined;
  readonly isLoading: boolean;
  /** When `data` was fetched. */
  readonly fetchedAt: Date | undefined;
  readonly refresh: () => void;
}

type Held<T> = { key: string; data?: T; error?: Error; fetchedAt?: Date };

/**
 * Fetches whenever `key` changes and when asked to. An answer to an earlier question is dropped.
 * A `key` of `null` fetches nothing.
 */
export function useResource<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
): Resource<T> {
  const [round, setRound] = useState(0);
  const [held, setHeld] = useState<Held<T>>({ key: "" });
  const [isLoading, setLoading] = useState(key !== null);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    setLoading(true);
    latest.current(abort.signal).then(
      (data) => abort.signal.aborted || (setHeld({ key, data, fetchedAt: new Date() }), setLoading(false)),
      (error: unknown) => abort.signal.aborted || (setHeld((before) => failed(before, key, error)), setLoading(false)),
    );
    return () => abort.abort();
  }, [key, round]);
  const refresh = useCallback(() => setRound((before) => before + 1), []);
  const current = held.key === key ? held : undefined;
  return {
    data: current?.data,
    error: current?.error,
    isLoading,
    fetchedAt: current?.fetchedAt,
    refresh,
  };
}

function failed<T>(before: Held<T>, key: string, error: unknown): Held<T> {
  const kept = before.key === key ? before : { key };
  return { ...kept, error: error instanceof Error ? error : new Error(String(error)) };
}
