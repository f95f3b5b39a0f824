import { Client, HeadroomProvider } from "@headroom/react";
import { useMemo, useState } from "react";
import { storedKey, storeKey } from "./session.ts";
import { Shell } from "./Shell.tsx";
import { SignIn } from "./SignIn.tsx";
import { Toasts } from "./toasts.tsx";

/** The sign-in, or everything else. */
export function App() {
  const [key, setKey] = useState(storedKey);
  const [notice, setNotice] = useState("");
  const client = useMemo(() => clientOf(key, () => (signOut("The key is no longer accepted."))), [key]);
  const signIn = (accepted: string) => (storeKey(accepted), setKey(accepted));
  const signOut = (why: string) => (storeKey(""), setNotice(why), setKey(""));
  if (key === "") return <SignIn notice={notice} onSignIn={signIn} />;
  return (
    <HeadroomProvider client={client}>
      <Toasts><Shell onSignOut={() => signOut("You have signed out.")} /></Toasts>
    </HeadroomProvider>
  );
}

/** A client that tells when its key is refused. */
export function clientOf(key: string, onRefused: () => void): Client {
  return new Client({
    credential: () => key,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      if (response.status === 401) onRefused();
      return response;
    },
  });
}
