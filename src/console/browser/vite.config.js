import { defineConfig } from 'vite';

// `npm run dev` serves the sources to a developer and hands the rest to a server that
// runs on port 6001.
export default defineConfig({
  // The server may have a path before every path, which the page does not know.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: { target: 'es2022', outDir: '../assets/built', emptyOutDir: true },
  server: { proxy: { '/admin': 'http://127.0.0.1:6001' } },
});
