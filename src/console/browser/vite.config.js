import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import { defineConfig } from 'vite';

/** Puts a packed file beside each that gains by it, for the server to give out. */
function packed() {
  let folder;
  return {
    name: 'packed',
    apply: 'build',
    configResolved(config) {
      folder = path.resolve(config.root, config.build.outDir);
    },
    async closeBundle() {
      const names = await readdir(folder, { recursive: true });
      for (const name of names.filter((name) => /\.(js|css|svg|html)$/.test(name))) {
        const file = path.join(folder, name);
        const content = await readFile(file);
        const small = gzipSync(content, { level: 9 });
        if (small.length < content.length * 0.9) {
          await writeFile(`${file}.gz`, small);
        }
      }
    },
  };
}

// `npm run dev` serves the sources to a developer and hands the rest to a server that
// runs on port 6001.
export default defineConfig({
  // The server may have a path before every path, which the page does not know.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [packed()],
  build: { target: 'es2022', outDir: '../assets/built', emptyOutDir: true },
  server: { proxy: { '/admin': 'http://127.0.0.1:6001' } },
});
