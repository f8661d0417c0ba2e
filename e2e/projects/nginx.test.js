import { after, before, test } from 'node:test'

import { startNginx } from './lib/nginx.js'
import { openBrowser } from './lib/people.js'
import { command, folder, freePort, Program } from './lib/program.js'
import { aQuestionIsAnswered, countsAgree, theBarMoves } from './lib/scenarios.js'

/** @type {Program} */
let program
/** @type {Awaited<ReturnType<typeof startNginx>>} */
let nginx
/** @type {import('playwright-core').Browser} */
let browser

before(async () => {
  const port = await freePort()
  const dir = await folder('data')
  const seeded = await command(['seed', '--data-dir', dir])
  if (seeded.code !== 0) throw new Error(seeded.output)
  program = await Program.start(['--public-url', `https://127.0.0.1:${port}`, '--trusted-proxy', '127.0.0.1', '--demo', 'off'], dir)
  nginx = await startNginx(program.port, port)
  browser = await openBrowser()
})

after(async () => {
  await browser.close()
  await nginx.stop()
  await program.remove()
})

test('through nginx: a click moves the bars of all others', async (t) => {
  await theBarMoves(browser, nginx.url, (line) => { t.diagnostic(line) })
})

test('through nginx: a question reaches staff, is answered, seen, edited, and is there after a reload', async () => {
  await aQuestionIsAnswered(browser, nginx.url)
})

test('through nginx: counts agree in all tabs', async () => {
  await countsAgree(browser, nginx.url)
})
