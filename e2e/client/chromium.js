// The SDK in pages of a headless Chromium: node chromium.js PATH-OF-CHROMIUM

import { chromium } from 'playwright-core'

import { say, serve } from './lines.js'

/**
 * @import { Page } from 'playwright-core'
 * @import { Happening } from './protocol.js'
 */

const browser = await chromium.launch({
  executablePath: process.argv[2] ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
  ],
  handleSIGINT: false,
  handleSIGTERM: false,
  handleSIGHUP: false,
})

/** @type {Map<string, Page>} */
const pages = new Map()

/** @param {string | undefined} name */
function page(name) {
  const found = name === undefined ? undefined : pages.get(name)
  if (!found) throw new Error(`there is no page ${name ?? 'without a name'}`)
  return found
}

await serve(async (command) => {
  switch (command.op) {
    case 'page': {
      // A context of its own: pages that share one share the few connections that a browser makes to a host.
      const context = await browser.newContext({ ignoreHTTPSErrors: true })
      const made = await context.newPage()
      made.on('pageerror', (error) => { process.stderr.write(`${command.page}: ${error.message}\n`) })
      await made.exposeFunction('emit', (/** @type {Happening} */ happening) => { say(happening) })
      await made.goto(command.url)
      await made.waitForFunction('window.handle !== undefined')
      pages.set(command.page, made)
      return made.evaluate('navigator.userAgent')
    }
    case 'closePage':
      await page(command.page).context().close()
      pages.delete(command.page)
      return null
    default: {
      // Errors keep their code only as a value.
      const answer = await page(command.page).evaluate(async (c) => {
        try {
          return { result: await window.handle(c) }
        } catch (error) {
          const { code, message } = /** @type {{ code?: number, message?: string }} */ (error)
          return { error: { code: code ?? 0, message: message ?? String(error) } }
        }
      }, command)
      if ('error' in answer) throw Object.assign(new Error(answer.error?.message), { code: answer.error?.code })
      return answer.result
    }
  }
})
await browser.close()
process.exit(0)
