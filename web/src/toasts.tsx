import { createContext, useCallback, useContext, useMemo, useState } from "react";
import type { ReactNode } from "react";

/** What was done, and how it is undone. */
export interface Done {
  readonly text: string;
  readonly undo?: () => Promise<unknown>;
  readonly isError?: boolean;
}

type Toast = Done & { readonly id: number };

const TOASTS_MAX = 3;
const Context = createContext<(done: Done) => void>(() => undefined);

/** Tells people what was done. It stays until it is closed, so that nobody has to hurry. */
export function useTell(): (done: Done) => void {
  return useContext(Context);
}

export function Toasts({ children }: { readonly children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const tell = useCallback((done: Done) => {
    setToasts((before) => [...before, { ...done, id: Date.now() + Math.random() }].slice(-TOASTS_MAX));
  }, []);
  const close = useCallback((id: number) => setToasts((before) => before.filter((it) => it.id !== id)), []);
  const view = useMemo(() => children, [children]);
  return (
    <Context.Provider value={tell}>
      {view}
      <section className="hr-root toasts" aria-label="What was done" aria-live="polite">
        {toasts.map((toast) => <Shown key={toast.id} toast={toast} close={close} tell={tell} />)}
      </section>
    </Context.Provider>
  );
}

interface ShownProps {
  readonly toast: Toast;
  readonly close: (id: number) => void;
  readonly tell: (done: Done) => void;
}

function Shown({ toast, close, tell }: ShownProps) {
  const { id, text, undo, isError } = toast;
  const onUndo = async () => {
    close(id);
    try {
      await undo?.();
      tell({ text: `Undone: ${text}` });
    } catch (error) {
      tell({ text: `Could not be undone: ${messageOf(error)}`, isError: true });
    }
  };
  return (
    <div className="toast" data-error={isError ?? false}>
      <span>{text}</span>
      <span className="hr-actions">
        {undo && <button type="button" className="hr-button" onClick={() => void onUndo()}>Undo</button>}
        <button type="button" className="hr-button hr-button-quiet" onClick={() => close(id)} aria-label={`Close: ${text}`}>Close</button>
      </span>
    </div>
  );
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
