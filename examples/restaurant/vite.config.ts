import { defineConfig } from 'vite';

// `npx vite` serves the sources to a developer and hands the rest to a back end
// that runs on port 3000.
export default defineConfig({
  oxc: { jsx: { runtime: 'automatic' } },
  build: { target: 'es2022' },
  server: {
    proxy: { '/api': 'http://127.0.0.1:3000', '/settings.json': 'http://127.0.0.1:3000' },
  },
});
