import js from '@eslint/js'
import { defineConfig } from 'eslint/config'
import vue from 'eslint-plugin-vue'
import ts from 'typescript-eslint'

export default defineConfig(
  { ignores: ['dist/', 'public/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts', '**/*.vue'],
    extends: [ts.configs.strictTypeChecked, vue.configs['flat/recommended']],
    languageOptions: {
      parserOptions: {
        parser: ts.parser,
        projectService: true,
        tsconfigRootDir: import.meta.dirname,
        extraFileExtensions: ['.vue'],
      },
    },
    rules: {
      'no-undef': 'off', // vue-tsc knows better
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      'max-lines': ['error', { max: 400 }],
      'vue/block-order': ['error', { order: ['script', 'template', 'style'] }],
      'vue/block-lang': ['error', { script: { lang: 'ts' } }],
      'vue/component-api-style': ['error', ['script-setup']],
      'vue/define-macros-order': 'error',
      'vue/enforce-style-attribute': ['error', { allow: ['scoped'] }],
      'vue/max-lines-per-block': ['error', { script: 200, template: 200, style: 200 }],
      'vue/multi-word-component-names': 'off', // Button, Dialog: ui/ is their namespace
      'vue/no-reserved-component-names': 'off',
      'vue/no-static-inline-styles': 'error', // the content-security policy refuses them
      'vue/no-v-html': 'error', // where the server has sanitised it, say so and switch it off for that line
      'vue/require-default-prop': 'off', // undefined is what a prop without one is, and TypeScript says so
      'vue/require-explicit-slots': 'off',
      // prettier's
      'vue/html-closing-bracket-newline': 'off',
      'vue/html-indent': 'off',
      'vue/html-self-closing': 'off',
      'vue/max-attributes-per-line': 'off',
      'vue/multiline-html-element-content-newline': 'off',
      'vue/singleline-html-element-content-newline': 'off',
      'vue/html-closing-bracket-spacing': 'off',
    },
  },
  {
    files: ['**/*.spec.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off', // in a test it fails the test, as it should
      'vue/one-component-per-file': 'off',
    },
  },
  {
    files: ['scripts/*.js', '*.js'],
    languageOptions: { globals: { console: 'readonly', process: 'readonly' } },
  },
)
