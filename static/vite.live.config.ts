import { defineConfig } from 'vite';

// Bundles the reducer and the store for the server's property test, which runs them in Node.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: 'dist-test',
    target: 'es2022',
    minify: false,
    lib: { entry: 'src/live/index.ts', formats: ['es'], fileName: () => 'live.mjs' },
  },
});
