import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BINARY = fileURLToPath(new URL("../../../../target/debug/headroom", import.meta.url));
const CATALOGUE = fileURLToPath(new URL("catalogue.toml", import.meta.url));

/** A busy machine, with a browser beside the service, is no fault of the service. */
const PATIENT = {
  HEADROOM_LOG_LEVEL: "error",
  HEADROOM_POSTGRES_CONNECT_TIMEOUT_MS: "10000",
  HEADROOM_REDIS_RESPONSE_TIMEOUT_MS: "4000",
  HEADROOM_SERVER_REQUEST_TIMEOUT_MS: "8000",
};

/** A service of its own, with its own Redis and Postgres. */
export interface Service {
  readonly url: string;
  readonly adminKey: string;
  readonly backendKey: string;
  /** Calls it as an admin; throws when the answer is not 2xx. */
  readonly call: <T = unknown>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<T>;
  /** Charges a subject for some units, and tells the status. */
  readonly consume: (subject: string, amount: number, metric?: string) => Promise<number>;
  readonly stop: () => Promise<void>;
}

/** `SERVICE_BINARY` names another binary than the debug build. The data folder is removed at the end unless it is given. */
export async function startService(settings: Record<string, string> = {}, dataDir?: string): Promise<Service> {
  const dir = dataDir ?? (await mkdtemp(join(tmpdir(), "headroom-web-")));
  const binary = process.env["SERVICE_BINARY"] ?? BINARY;
  const env = { ...process.env, ...PATIENT, HEADROOM_QUOTA_CATALOGUE: CATALOGUE, ...settings };
  const child = spawn(binary, ["dev", "--listen", "127.0.0.1:0", "--data-dir", dir], { env, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const ready = await new Promise<Record<string, string>>((resolve, reject) => {
    createInterface(child.stdout).once("line", (line) => resolve(JSON.parse(line)));
    child.once("exit", (code) => reject(new Error(`the service ended with ${code}`)));
    child.once("error", reject);
  });
  const { url = "", admin_key: adminKey = "", backend_key: backendKey = "" } = ready;
  const send = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    fetch(url + path, {
      method,
      headers: { Authorization: `Bearer ${adminKey}`, "Content-Type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  return {
    url,
    adminKey,
    backendKey,
    call: async (method, path, body, headers) => {
      const response = await send(method, path, body, headers);
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
      return text === "" ? undefined : JSON.parse(text);
    },
    consume: async (subject, amount, metric = "messages") =>
      (await send("POST", "/v1/consume", { subject, metric, amount })).status,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
      if (dataDir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
}
