import { HeadroomError } from "@headroom/react";
import { useState } from "react";
import type { FormEvent } from "react";
import { clientOf } from "./App.tsx";
import { Logo } from "./Logo.tsx";
import { Field } from "./parts/Dialog.tsx";
import { messageOf } from "./toasts.tsx";

export interface SignInProps {
  readonly notice: string;
  readonly onSignIn: (key: string) => void;
}

export function SignIn({ notice, onSignIn }: SignInProps) {
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const onSubmit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const key = String(new FormData(event.currentTarget).get("key") ?? "").trim();
    setBusy(true);
    setError("");
    try {
      await clientOf(key, () => undefined).get("/v1/catalogue");
      onSignIn(key);
    } catch (failure) {
      setError(explain(failure));
      setBusy(false);
    }
  };
  return (
    <main className="hr-root signin">
      <form className="hr-card" onSubmit={(event) => void onSubmit(event)}>
        <h1 className="signin-title"><Logo />Headroom</h1>
        {notice !== "" && <p className="hr-quiet" role="status">{notice}</p>}
        <Field label="API key" hint="Stays in this tab until it is closed. A key that may read shows everything; an admin's key may also change it.">
          <input name="key" type="password" required autoFocus autoComplete="off" spellCheck={false} placeholder="hr_live_…" />
        </Field>
        {error !== "" && <p className="hr-failure" role="alert">{error}</p>}
        <button type="submit" className="hr-button hr-button-strong" disabled={isBusy}>{isBusy ? "Signing in…" : "Sign in"}</button>
      </form>
    </main>
  );
}

function explain(error: unknown): string {
  if (error instanceof HeadroomError && error.status === 401) return "This key is not known, or has been revoked.";
  if (error instanceof HeadroomError && error.status === 403) return "This key may not read.";
  return `The service did not answer: ${messageOf(error)}.`;
}
