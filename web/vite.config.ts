import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";
import type { Plugin } from "vite";

const components = fileURLToPath(new URL("../clients/react/src", import.meta.url));
const OUTPUT = fileURLToPath(new URL("dist/site", import.meta.url));

/** Writes each file compressed beside itself, since the service compresses nothing. */
function compressed(): Plugin {
  return {
    name: "compressed",
    closeBundle() {
      for (const name of readdirSync(OUTPUT, { recursive: true, encoding: "utf8" })) {
        const path = join(OUTPUT, name);
        if (/\.(html|js|css|svg)$/.test(name)) writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  base: "/dashboard/",
  resolve: {
    alias: [
      { find: /^@headroom\/react$/, replacement: `${components}/index.ts` },
      { find: /^@headroom\/react\/styles\.css$/, replacement: `${components}/styles.css` },
    ],
    dedupe: ["react", "react-dom"],
  },
  esbuild: { jsx: "automatic" },
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    target: "es2023",
    // Inlined files would need `data:` in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  plugins: [compressed()],
  // `npx vite` beside a running service.
  server: { proxy: { "^/(v1|metrics|readyz|livez|openapi.json)": process.env["HEADROOM_URL"] ?? "http://127.0.0.1:8080" } },
});
