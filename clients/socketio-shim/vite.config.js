import { defineConfig } from 'vite';

// The file for pages without a bundler. Everything else in `dist` is of `tsc`.
export default defineConfig({
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: false,
    lib: {
      entry: 'src/browser.ts',
      formats: ['iife'],
      name: 'fanfareSocketioShim',
      fileName: () => 'socketio-shim.min.js',
    },
  },
});
