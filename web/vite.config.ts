import { fileURLToPath, URL } from 'node:url'

import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

// In development the page comes from here and all else from `projects serve`.
const server = process.env.PROJECTS_SERVER ?? 'http://127.0.0.1:8000'
const proxied = ['/api', '/v1', '/emulation', '/dev', '/healthz']

export default defineConfig({
  plugins: [vue()],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  define: { __VUE_OPTIONS_API__: false, __VUE_PROD_DEVTOOLS__: false },
  server: {
    host: '127.0.0.1',
    proxy: {
      ...Object.fromEntries(proxied.map((path) => [path, { target: server }])),
      '/connection': { target: server, ws: true },
    },
  },
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    assetsInlineLimit: 0, // the content-security policy knows no data: scripts and styles
    target: ['chrome123', 'edge123', 'firefox121', 'safari17.5'], // the first with light-dark()
    modulePreload: { polyfill: false }, // all of these can
    manifest: true,
  },
})
