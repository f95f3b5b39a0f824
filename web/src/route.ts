import { useEffect, useState } from "react";

/** A page and what it is about: `#/subjects/user:u_1`. */
export interface Route {
  readonly page: string;
  readonly about: string;
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const onChange = () => setHash(location.hash);
    addEventListener("hashchange", onChange);
    return () => removeEventListener("hashchange", onChange);
  }, []);
  return parse(hash);
}

export function href(page: string, about = ""): string {
  return about === "" ? `#/${page}` : `#/${page}/${encodeURIComponent(about)}`;
}

function parse(hash: string): Route {
  const [page = "", about = ""] = hash.replace(/^#\/?/, "").split("/", 2);
  try {
    return { page: page || "overview", about: decodeURIComponent(about) };
  } catch {
    return { page: "overview", about: "" };
  }
}
