// People in front of windows.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

import { patience } from './program.js'

/**
 * @import { Browser, BrowserContext, Page, BrowserContextOptions } from 'playwright-core'
 */

/** The demo's people. */
export const people = {
  maya: 'maya@northlight.example',
  jonas: 'jonas@northlight.example',
  priya: 'priya@northlight.example',
  elena: 'elena@rossi.example',
  ben: 'ben@rossi.example',
  tom: 'tom@hughescycles.example',
  amara: 'amara@diallodental.example',
}

export const password = 'try-it-yourself'

/** @returns {Promise<Browser>} */
export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
      // Several windows are looked at at once: none of them sleeps.
      '--disable-renderer-backgrounding', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
    ],
  })
}

/** Somebody who is signed in, with a window. */
export class Somebody {
  /**
   * @param {BrowserContext} context
   * @param {Page} page
   * @param {string} base
   * @param {string[]} errors
   */
  constructor(context, page, base, errors) {
    this.context = context
    this.page = page
    this.base = base
    /** What went wrong in the page's own code, or was refused by its content-security policy. */
    this.errors = errors
  }

  /**
   * @param {Browser} browser
   * @param {string} base
   * @param {string} email
   * @param {BrowserContextOptions} [options]
   */
  static async signIn(browser, base, email, options = {}) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 860 }, locale: 'en-GB', ...options })
    const response = await context.request.post(`${base}/api/session`, { data: { email, password }, timeout: patience })
    if (!response.ok()) throw new Error(`${email} can't sign in: ${response.status()} ${await response.text()}`)
    return Somebody.window(context, base)
  }

  /**
   * @param {BrowserContext} context
   * @param {string} base
   */
  static async window(context, base) {
    context.setDefaultTimeout(patience)
    const page = await context.newPage()
    /** @type {string[]} */
    const errors = []
    page.on('pageerror', (error) => errors.push(error.message))
    page.on('console', (message) => {
      if (/content security policy/i.test(message.text())) errors.push(message.text())
    })
    return new Somebody(context, page, base, errors)
  }

  /** Another tab of the same browser. */
  async tab() {
    return Somebody.window(this.context, this.base)
  }

  /** @param {string} where such as /inbox */
  async goto(where) {
    await this.page.goto(this.base + where)
  }

  /**
   * Asks the API as the page would.
   *
   * @template [T=unknown]
   * @param {'GET' | 'POST' | 'PATCH' | 'DELETE'} method
   * @param {string} where such as /api/overview
   * @param {unknown} [data]
   * @returns {Promise<T>} what it answers
   */
  async api(method, where, data) {
    const response = await this.context.request.fetch(this.base + where, { method, ...(data === undefined ? {} : { data }) })
    if (!response.ok()) throw new Error(`${method} ${where}: ${response.status()} ${await response.text()}`)
    /** @type {unknown} */
    const answer = response.status() === 204 ? null : await response.json()
    return /** @type {T} */ (answer)
  }

  /**
   * The id of one of their projects.
   *
   * @param {string} name how it begins
   * @returns {Promise<number>}
   */
  async project(name) {
    /** @type {{ projects: { id: number, name: string }[] }} */
    const overview = await this.api('GET', '/api/overview')
    const found = overview.projects.find((p) => p.name.startsWith(name))
    if (!found) throw new Error(`there is no project ${name}`)
    return found.id
  }

  async leave() {
    await this.context.close()
  }
}

const axe = readFileSync(path.resolve(import.meta.dirname, '../../../web/node_modules/axe-core/axe.min.js'), 'utf8')

/**
 * What axe has against a page as it is now.
 *
 * @param {Page} page
 * @returns {Promise<string[]>}
 */
export async function violations(page) {
  // Colors that are on their way to others aren't what is looked at. What turns for ever is left alone.
  await page.evaluate(() => {
    for (const animation of document.getAnimations()) {
      if (animation.effect?.getComputedTiming().endTime !== Infinity) animation.finish()
    }
  })
  await page.evaluate(axe)
  return page.evaluate(async () => {
    /** @typedef {{ violations: { id: string, help: string, nodes: { html: string, failureSummary?: string }[] }[] }} Result */
    const { axe: tool } = /** @type {{ axe: { run: (context: Document, options: object) => Promise<Result> } }} */ (/** @type {unknown} */ (window))
    const result = await tool.run(document, { resultTypes: ['violations'] })
    return result.violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.html.slice(0, 200)} ${n.failureSummary ?? ''}`).join('\n  ')}`)
  })
}
