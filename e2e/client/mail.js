// Looks at mails in a headless Chromium: node mail.js PATH-OF-CHROMIUM
//
// A command holds the HTML of a mail and how to look at it. The answer says what a reader would see or meet.

import { chromium } from 'playwright-core'

import { serve } from './lines.js'

/**
 * How to look at a mail.
 *
 * @typedef {object} Look
 * @property {string} html
 * @property {number} width of the window, in px
 * @property {number} zoom 2 is 200 %
 * @property {'light' | 'dark'} scheme
 * @property {boolean} bare as programs show it that leave out style sheets
 * @property {string} png where to put a picture, '' for none
 */

/**
 * What was seen.
 *
 * @typedef {object} Seen
 * @property {string[]} requests what the mail has asked the network for
 * @property {number} overflow by how many px it is wider than the window
 * @property {string[]} faint texts that are too faint
 * @property {string[]} problems with what screen readers and fingers need
 * @property {number} texts how many texts were looked at
 * @property {number} links
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

/** @returns {Omit<Seen, 'requests'>} */
function examine() {
  /**
   * @typedef {[number, number, number, number]} Color
   * @type {(text: string) => Color}
   */
  const color = (text) => {
    const [red = 0, green = 0, blue = 0, alpha = 1] = (text.match(/[\d.]+/g) ?? []).map(Number)
    return [red, green, blue, alpha]
  }
  /** @type {(c: Color) => number} */
  const luminance = ([red, green, blue]) => {
    const linear = /** @type {(v: number) => number} */ (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255)
  }
  /** @type {(a: Color, b: Color) => number} */
  const contrast = (a, b) => {
    const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y)
    return (high + 0.05) / (low + 0.05)
  }
  /** @type {(c: Color) => Color} */
  const inverted = ([red, green, blue, alpha]) => [255 - red, 255 - green, 255 - blue, alpha]
  /** @type {(element: Element | null) => Color} */
  const background = (element) => {
    for (; element; element = element.parentElement) {
      const found = color(getComputedStyle(element).backgroundColor)
      if (found[3] === 1) return found
      if (found[3] !== 0) throw new Error(`${element.outerHTML}: half transparent`)
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1]
  }

  /** @type {string[]} */
  const faint = []
  /** @type {string[]} */
  const problems = []
  let texts = 0
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    const text = node.textContent?.trim()
    if (!element?.checkVisibility() || !text) continue
    texts++
    const style = getComputedStyle(element)
    const [front, back] = [color(style.color), background(element)]
    // Some programs invert a mail's colors by themselves.
    const least = Math.min(contrast(front, back), contrast(inverted(front), inverted(back)))
    if (least < 4.5) faint.push(`${text}: ${least.toFixed(2)}, ${style.color} on ${back.join(' ')}`)
    if (parseFloat(style.fontSize) < 14) problems.push(`${text}: ${style.fontSize}`)
    const box = document.createRange()
    box.selectNodeContents(node)
    const { left, right } = box.getBoundingClientRect()
    if (left < 0 || right > innerWidth + 0.5) problems.push(`${text}: from ${left} to ${right} px`)
  }

  const lang = document.documentElement.lang
  if (!lang) problems.push('the document has no language')
  if (!document.title.trim()) problems.push('the document has no title')
  if (document.querySelectorAll('h1').length !== 1) problems.push('there must be one h1')
  let level = 0
  for (const heading of document.querySelectorAll('h1, h2, h3, h4, h5, h6')) {
    const next = Number(heading.tagName.slice(1))
    if (next > level + 1) problems.push(`${heading.outerHTML}: leaves out a level`)
    if (!heading.textContent.trim()) problems.push(`${heading.outerHTML}: empty`)
    level = next
  }
  for (const table of document.querySelectorAll('table')) {
    if (table.getAttribute('role') !== 'presentation') problems.push('a table that holds no data says that it does')
    if (!table.closest('[lang]')?.hasAttribute('dir')) problems.push('a table without language and direction')
  }
  const foreign = 'script, img, svg, video, audio, iframe, object, embed, form, input, link, base, [tabindex], [onclick], [onload]'
  for (const bad of document.querySelectorAll(foreign)) {
    problems.push(`${bad.outerHTML}: has no place in a mail`)
  }
  for (const list of document.querySelectorAll('ul')) {
    const items = [...list.children]
    if (!items.length || items.some((item) => item.tagName !== 'LI')) problems.push('a list of something else than items')
  }
  const links = [...document.querySelectorAll('a')]
  const middles = links.map((link) => {
    if (!link.textContent.trim()) problems.push(`${link.outerHTML}: says nothing`)
    if (!/^https?:\/\//.test(link.getAttribute('href') ?? '')) problems.push(`${link.outerHTML}: leads to no page`)
    const box = link.getBoundingClientRect()
    return { link, x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, small: box.height < 24 || box.width < 24 }
  })
  // Targets for fingers: 24 px across, or as far from each other.
  for (const [i, a] of middles.entries()) {
    for (const b of middles.slice(i + 1)) {
      const close = (a.small || b.small) && Math.hypot(a.x - b.x, a.y - b.y) < 24
      if (close) problems.push(`${a.link.outerHTML} is too close to ${b.link.outerHTML}`)
    }
  }
  const root = document.documentElement
  const overflow = Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth
  return { overflow, faint, problems, texts, links: links.length }
}

await serve(async (command) => {
  const look = /** @type {Look} */ (/** @type {unknown} */ (command))
  const context = await browser.newContext({ viewport: { width: look.width, height: 700 }, colorScheme: look.scheme })
  try {
    const page = await context.newPage()
    /** @type {string[]} */
    const requests = []
    page.on('request', (request) => { requests.push(request.url()) })
    await page.setContent(look.html, { waitUntil: 'load' })
    await page.evaluate(({ bare, zoom }) => {
      if (bare) for (const style of document.querySelectorAll('style')) style.remove()
      document.body.style.zoom = String(zoom)
    }, look)
    /** @type {Seen} */
    const seen = { ...await page.evaluate(examine), requests }
    if (look.png) await page.screenshot({ path: look.png, fullPage: true })
    return seen
  } finally {
    await context.close()
  }
})
await browser.close()
process.exit(0)
