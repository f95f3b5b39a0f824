// Writes dist/cjs beside dist/esm: the same files for `require`, each with its types.
import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const compiled = await readdir('dist/esm');
const modules = compiled.filter((name) => name.endsWith('.js'));
const entryPoints = modules.map((name) => `dist/esm/${name}`);

await build({ entryPoints, outdir: 'dist/cjs', format: 'cjs', platform: 'node', target: 'es2022' });
await writeFile('dist/cjs/package.json', '{ "type": "commonjs" }\n');
for (const name of compiled.filter((name) => name.endsWith('.d.ts'))) {
  await copyFile(`dist/esm/${name}`, `dist/cjs/${name}`);
}
