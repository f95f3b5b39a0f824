import { useEffect, useId, useRef, useState } from "react";
import type { FormEvent, ReactNode } from "react";
import { messageOf } from "../toasts.tsx";

export interface FormDialogProps {
  readonly title: string;
  readonly submit: string;
  readonly isDangerous?: boolean;
  /** Whether an admin has to say why. */
  readonly needsReason?: boolean;
  readonly children?: ReactNode;
  readonly onClose: () => void;
  /** Does it; the dialog closes afterwards, and shows what went wrong otherwise. */
  readonly onSubmit: (form: FormData, reason: string) => Promise<void>;
}

/** A question with a form, and a reason for the audit log. */
export function FormDialog(props: FormDialogProps) {
  const { title, submit, isDangerous = false, needsReason = true, children, onClose, onSubmit } = props;
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const id = useId();
  const dialog = useModal();
  const onForm = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    try {
      await onSubmit(form, String(form.get("reason") ?? ""));
      onClose();
    } catch (failure) {
      setError(messageOf(failure));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} className="hr-root hr-modal dialog" aria-labelledby={id} onClose={onClose}>
      <form className="hr-modal-body" onSubmit={(event) => void onForm(event)}>
        <h2 id={id} className="hr-title">{title}</h2>
        {children}
        {needsReason && <Field label="Reason" hint="Kept in the audit log."><input name="reason" required maxLength={200} autoComplete="off" /></Field>}
        {error !== "" && <p className="hr-failure" role="alert">{error}</p>}
        <span className="hr-actions dialog-actions">
          <button type="button" className="hr-button" onClick={onClose}>Cancel</button>
          <button type="submit" className={`hr-button hr-button-strong ${isDangerous ? "danger" : ""}`} disabled={isBusy}>{submit}</button>
        </span>
      </form>
    </dialog>
  );
}

/** Opens the dialog over everything else, and gives the focus back at the end. */
function useModal() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => (before instanceof HTMLElement ? before.focus() : undefined);
  }, []);
  return dialog;
}

/** A labelled control. */
export function Field(props: { readonly label: string; readonly hint?: string; readonly children: ReactNode }) {
  return (
    <label className="field">
      <span className="field-label">{props.label}</span>
      {props.children}
      {props.hint && <span className="hr-quiet hr-small">{props.hint}</span>}
    </label>
  );
}
