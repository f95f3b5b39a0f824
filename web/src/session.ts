/** The key lives as long as the tab, and never in an address. */

const NAME = "headroom:key";

export function storedKey(): string {
  return sessionStorage.getItem(NAME) ?? "";
}

export function storeKey(key: string): void {
  if (key === "") sessionStorage.removeItem(NAME);
  else sessionStorage.setItem(NAME, key);
}
