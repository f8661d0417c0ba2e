// Fails the build where the first load takes more script than the budget allows, and says what is largest in it.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const budget = 150_000 // bytes, gzip
const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist')

/**
 * What vite says of a chunk.
 *
 * @typedef {{ file: string, imports?: string[], isEntry?: boolean, css?: string[] }} Chunk
 * @type {Record<string, Chunk>}
 */
const manifest = JSON.parse(readFileSync(join(dist, '.vite', 'manifest.json'), 'utf8'))

/** The chunks that a chunk needs before it runs, itself among them. */
function closure(name, seen = new Set()) {
  if (seen.has(name)) return seen
  seen.add(name)
  for (const needed of manifest[name]?.imports ?? []) closure(needed, seen)
  return seen
}

const size = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`

const entry = Object.keys(manifest).find((name) => manifest[name].isEntry)
if (!entry) throw new Error('dist/.vite/manifest.json names no entry')
// The live connection's SDK comes behind the first paint, and belongs to what every page needs to be of use.
const sdk = Object.keys(manifest).filter((name) => name.includes('node_modules/centrifuge/'))
if (sdk.length === 0) throw new Error('dist/.vite/manifest.json names no chunk of centrifuge: what is it called now?')
const shell = sdk.reduce((seen, name) => closure(name, seen), closure(entry))

// The heaviest page that can be opened first: what all share, and what it alone needs.
const pages = Object.keys(manifest).filter((name) => name.startsWith('src/pages/') && name.endsWith('.vue'))
const loads = pages.map((page) => {
  const names = new Set([...shell, ...closure(page)])
  const scripts = [...names].map((name) => manifest[name].file).filter((file) => file.endsWith('.js'))
  const chunks = [...new Set(scripts)].map((file) => ({ file, bytes: size(file) })).sort((a, b) => b.bytes - a.bytes)
  return { page, chunks, bytes: chunks.reduce((sum, chunk) => sum + chunk.bytes, 0) }
})
loads.sort((a, b) => b.bytes - a.bytes)

for (const { page, bytes } of loads) console.log(`${kB(bytes).padStart(9)}  ${page}`)
const [heaviest] = loads
const later = new Set(
  Object.values(manifest)
    .map(({ file }) => file)
    .filter((file) => file.endsWith('.js')),
)
console.log(
  `${kB([...later].reduce((sum, file) => sum + size(file), 0)).padStart(9)}  all pages and what is loaded later`,
)
if (heaviest) {
  console.log(`first load at most ${kB(heaviest.bytes)} of ${kB(budget)} (gzip, script); the largest in it:`)
  for (const { file, bytes } of heaviest.chunks.slice(0, 6)) console.log(`${kB(bytes).padStart(9)}  ${file}`)
  if (heaviest.bytes > budget) {
    console.error(`over the budget by ${kB(heaviest.bytes - budget)}: load what isn't needed at once with import()`)
    process.exit(1)
  }
}
