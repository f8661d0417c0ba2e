// Looks at every page, light and dark, wide and as on a phone: axe has nothing against it, it isn't wider than the window, and nothing
// goes wrong in its code. With SCREENSHOTS=DIR the pictures of the README are put there.

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { after, before, test } from 'node:test'

import { openBrowser, people, Somebody, violations } from './lib/people.js'
import { folder, Program, until } from './lib/program.js'
import { bar, composer, message, shop } from './lib/scenarios.js'

/**
 * @import { BrowserContextOptions, Page } from 'playwright-core'
 */

/** @type {Program} */
let program
/** @type {import('playwright-core').Browser} */
let browser
/** Where all pictures go. @type {string} */
let pictures

before(async () => {
  program = await Program.start()
  browser = await openBrowser()
  pictures = process.env.PICTURES ?? (await folder('pictures'))
  await mkdir(pictures, { recursive: true })
})

after(async () => {
  await browser.close()
  await program.remove()
})

/** @type {Record<string, BrowserContextOptions>} */
const looks = {
  light: { colorScheme: 'light', reducedMotion: 'reduce' },
  dark: { colorScheme: 'dark', reducedMotion: 'reduce' },
  phone: { colorScheme: 'light', reducedMotion: 'reduce', viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
  'dark phone': { colorScheme: 'dark', reducedMotion: 'reduce', viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
}

/** @param {Page} page */
async function settled(page) {
  await page.waitForLoadState('load')
  await until('the page to have loaded what it shows', async () =>
    page.evaluate(
      () =>
        document.querySelector('h1') !== null &&
        document.querySelector('[aria-busy="true"]') === null &&
        (!/^\/projects\/\d+\/chat/.test(location.pathname) || document.querySelector('article[data-seq]') !== null),
    ),
  )
  await page.evaluate(() => document.fonts.ready.then(() => null))
}

/** @param {Somebody} who @param {string} name */
async function examine(who, name) {
  await settled(who.page)
  await who.page.screenshot({ path: path.join(pictures, `${name}.png`) })
  assert.deepEqual(await violations(who.page), [], name)
  const beyond = await who.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.ok(beyond <= 0, `${name} is ${beyond} px wider than the window`)
  assert.deepEqual(who.errors, [], name)
}

for (const [look, options] of Object.entries(looks)) {
  test(`pages of people who are signed in, ${look}`, async () => {
    for (const [role, email] of Object.entries({ customer: people.elena, staff: people.maya })) {
      const who = await Somebody.signIn(browser, program.url, email, options)
      const id = await who.project(shop)
      const fresh = role === 'staff' ? await who.project('Diallo') : 0
      /** @type {Record<string, string>} */
      const pages = {
        overview: '/', project: `/projects/${id}`, chat: `/projects/${id}/chat`, people: `/projects/${id}/people`, inbox: '/inbox',
        preferences: '/preferences', account: '/account', search: '/search?q=delivery', invitations: '/invitations', 'not there': '/nowhere',
        'not theirs': '/projects/999999', ...(fresh ? { 'without tasks': `/projects/${fresh}` } : {}),
      }
      for (const [name, where] of Object.entries(pages)) {
        await who.goto(where)
        await examine(who, `${look} ${role} ${name}`)
      }
      await who.goto(`/projects/${id}`)
      await settled(who.page)
      await who.page.getByRole('button', { name: 'Send bank details for payouts' }).click()
      await until('the task to be shown', () => who.page.getByText('Send bank details for payouts').count().then((n) => n > 1))
      await examine(who, `${look} ${role} task`)
      await who.leave()
    }
  })

  test(`pages of strangers, ${look}`, async () => {
    const context = await browser.newContext(options)
    const stranger = await Somebody.window(context, program.url)
    for (const [name, where] of Object.entries({
      'sign in': '/sign-in', reset: '/reset', 'reset over': '/reset/nothing', 'invitation over': '/invited/nothing',
    })) {
      await stranger.goto(where)
      await examine(stranger, `${look} stranger ${name}`)
    }
    await context.close()
  })
}

test('with the keyboard alone: sign in, complete a task, ask, read the bell, sign out', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
  const ben = await Somebody.window(context, program.url)
  const { page } = ben
  const { keyboard } = page
  /** Tabs on until something has the focus. @param {RegExp} name @param {number} [most] */
  const tabTo = async (name, most = 80) => {
    for (let i = 0; i < most; i++) {
      const found = await page.evaluate(() => {
        const e = document.activeElement
        if (!(e instanceof HTMLElement) || !e.matches('a, button, input, textarea, select, [role]')) return ''
        const label = e.getAttribute('aria-label') ?? (e instanceof HTMLInputElement ? e.labels?.[0]?.textContent : null) ?? e.textContent
        return label.trim()
      })
      if (name.test(found)) return found
      await keyboard.press('Tab')
    }
    throw new Error(`Tab doesn't lead to ${String(name)}`)
  }
  await page.goto(program.url)
  // Each time what is tabbed to is there first: Tab goes round faster than some of it is loaded.
  await page.getByRole('textbox', { name: 'E-mail' }).waitFor()
  await tabTo(/^E-mail/)
  await keyboard.type(people.ben)
  await tabTo(/^Password/)
  await keyboard.type('try-it-yourself')
  await keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Your projects' }).waitFor()
  await bar(page, shop).first().waitFor()
  await settled(page)
  await tabTo(new RegExp(shop))
  await keyboard.press('Enter')
  await page.waitForURL(/\/projects\/\d+/)
  const before = await bar(page, shop).first().getAttribute('aria-valuenow')
  await page.getByRole('checkbox', { name: /^Complete “Photograph/ }).waitFor()
  await composer(page).waitFor()
  await settled(page)
  await tabTo(/^Complete “Photograph/)
  // What has the focus can be seen.
  const outline = await page.evaluate(() => {
    const e = document.activeElement
    if (!e) return ''
    const [own, box] = [getComputedStyle(e), getComputedStyle(e.parentElement ?? e)]
    return `${own.outlineStyle} ${own.boxShadow} ${box.outlineStyle} ${box.boxShadow}`
  })
  assert.doesNotMatch(outline, /^none none none none$/)
  await keyboard.press('Space')
  await until('the bar to move', async () => (await bar(page, shop).first().getAttribute('aria-valuenow')) !== before)
  await tabTo(/^Write a message/)
  await keyboard.type('Asked without a mouse')
  await keyboard.press('Enter')
  await message(page, 'Asked without a mouse').waitFor()
  await page.evaluate(() => { if (document.activeElement instanceof HTMLElement) document.activeElement.blur() })
  await tabTo(/^Notifications/)
  await keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Notifications' }).waitFor()
  await keyboard.press('Escape')
  await tabTo(/menu$/)
  await keyboard.press('Enter')
  const out = page.getByRole('menuitem', { name: /Sign out/ })
  await until('the menu to have the focus', () => page.evaluate(() => document.activeElement?.closest('[role="menu"]') != null))
  await keyboard.press('End')
  await until('“Sign out” to have the focus', () => out.evaluate((element) => element === document.activeElement))
  await keyboard.press('Enter')
  await page.waitForURL(/sign-in/)
  assert.deepEqual(ben.errors, [])
  await context.close()
})

test('a phone has tasks and chat as tabs, each with the whole width', async () => {
  const elena = await Somebody.signIn(browser, program.url, people.elena, looks.phone)
  const id = await elena.project(shop)
  await elena.goto(`/projects/${id}`)
  await bar(elena.page, shop).first().waitFor()
  assert.equal(await composer(elena.page).isVisible(), false)
  await elena.page.getByRole('tab', { name: /Chat/ }).or(elena.page.getByRole('link', { name: /Chat/ })).first().click()
  await composer(elena.page).waitFor()
  await composer(elena.page).fill('From the phone')
  await elena.page.getByRole('button', { name: 'Send', exact: true }).click()
  await message(elena.page, 'From the phone').waitFor()
  const width = await composer(elena.page).evaluate((e) => e.closest('form')?.getBoundingClientRect().width ?? 0)
  assert.ok(width > 250, `the composer is ${width} px wide`)
  await elena.leave()
})

test('pictures of the README', { skip: !process.env.SCREENSHOTS }, async () => {
  const dir = process.env.SCREENSHOTS ?? ''
  await mkdir(dir, { recursive: true })
  const shot = async (/** @type {Somebody} */ who, /** @type {string} */ name) => {
    await settled(who.page)
    const dismiss = who.page.getByRole('button', { name: /Dismiss|Hide|Close/ })
    if (await dismiss.first().isVisible()) await dismiss.first().click()
    await who.page.mouse.move(0, 0)
    await who.page.screenshot({ path: path.join(dir, `${name}.png`), animations: 'disabled' })
  }
  const jonas = await Somebody.signIn(browser, program.url, people.jonas)
  const elena = await Somebody.signIn(browser, program.url, people.elena, looks.light)
  const id = await elena.project(shop)
  await jonas.goto(`/projects/${id}/chat`)
  await elena.goto(`/projects/${id}/chat`)
  await composer(elena.page).waitFor()
  await until('Jonas to be seen', () => elena.page.getByText(/Jonas Weber is here/).count())
  await shot(elena, 'project')
  const maya = await Somebody.signIn(browser, program.url, people.maya, looks.light)
  await maya.goto('/')
  await shot(maya, 'overview')
  const phone = await Somebody.signIn(browser, program.url, people.elena, looks['dark phone'])
  await phone.goto(`/projects/${id}/chat`)
  await composer(phone.page).waitFor()
  await shot(phone, 'phone')
  for (const who of [jonas, elena, maya, phone]) await who.leave()
})
