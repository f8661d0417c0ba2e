import { after, before, test } from 'node:test'

import { openBrowser } from './lib/people.js'
import { Program } from './lib/program.js'
import { aQuestionIsAnswered, countsAgree, theBarMoves } from './lib/scenarios.js'

/** @type {Program} */
let program
/** @type {import('playwright-core').Browser} */
let browser

before(async () => {
  program = await Program.start()
  browser = await openBrowser()
})

after(async () => {
  await browser.close()
  await program.remove()
})

test('a click moves the bars of all others', async (t) => {
  await theBarMoves(browser, program.url, (line) => { t.diagnostic(line) })
})

test('a question reaches staff, is answered, seen, edited, and is there after a reload', async () => {
  await aQuestionIsAnswered(browser, program.url)
})

test('counts agree in all tabs', async () => {
  await countsAgree(browser, program.url)
})
