import { defineConfig } from 'vite';

// The server embeds `dist` and serves it under /app/. Nothing is inlined, so that the page works under a strict
// Content-Security-Policy (script-src 'self'; style-src 'self'; img-src 'self').
export default defineConfig({
  base: '/app/',
  build: { outDir: 'dist', assetsInlineLimit: 0, target: 'es2022', modulePreload: { polyfill: false } },
  server: {
    proxy: {
      '/api': 'http://127.0.0.1:8080',
      '/connection': { target: 'ws://127.0.0.1:8080', ws: true },
    },
  },
});
