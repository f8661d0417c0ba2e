/// <reference types="vite/client" />

// vue-tsc reads components themselves; this is for the linter, which doesn't.
declare module '*.vue' {
  import type { DefineComponent } from 'vue'

  const component: DefineComponent
  export default component
}
