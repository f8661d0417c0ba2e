// What several people do together. Each takes where the site is, so that it can be tried directly and through nginx.

import assert from 'node:assert/strict'

import { people, Somebody } from './people.js'
import { patience, until } from './program.js'

/**
 * @import { Browser, Locator, Page } from 'playwright-core'
 */

export const shop = 'Rossi Bakery: online shop'

/** @param {Page} page @param {string} project */
export const bar = (page, project) => page.getByRole('progressbar', { name: `Progress of ${project}` })

/** @param {Page} page */
export const composer = (page) => page.getByRole('textbox', { name: 'Write a message' })

/** A message that has been stored. @param {Page} page @param {string} text */
export const message = (page, text) => page.locator('article[data-seq]').filter({ hasText: text })

/** The texts of a conversation as its window shows them, in order. @param {Page} page */
export async function texts(page) {
  return page.locator('article[data-seq]').evaluateAll((all) =>
    all
      .sort((a, b) => Number(a.getAttribute('data-seq')) - Number(b.getAttribute('data-seq')))
      .map((each) => `${each.getAttribute('data-seq') ?? ''} ${each.textContent}`),
  )
}

/** Waits until texts are there, and expects each just once. @param {Page} page @param {string[]} wanted */
export async function onceEach(page, wanted) {
  const counts = async () => {
    const all = await texts(page)
    return wanted.map((text) => all.filter((t) => t.includes(text)).length)
  }
  await until(`all of ${wanted.join(', ')}`, async () => (await counts()).every((n) => n > 0))
  assert.deepEqual(await counts(), wanted.map(() => 1), 'each once')
}

/** Writes on until somebody else sees that: it is told for a few seconds only. @param {Page} writer @param {Page} reader @param {RegExp} line */
export async function isSeenTyping(writer, reader, line) {
  await until(`${String(line)} to be shown`, async () => {
    await composer(writer).pressSequentially('x')
    return reader.getByText(line).first().isVisible()
  })
}

/**
 * Signs Elena and Jonas in, each on the site that is named for them, and opens the shop's chat for both.
 *
 * @param {Browser} browser
 * @param {string} hers
 * @param {string} his
 */
export async function bothInTheChat(browser, hers, his = hers) {
  const elena = await Somebody.signIn(browser, hers, people.elena)
  const jonas = await Somebody.signIn(browser, his, people.jonas)
  const id = await elena.project(shop)
  for (const someone of [elena, jonas]) {
    await someone.goto(`/projects/${id}/chat`)
    await composer(someone.page).waitFor()
  }
  return { elena, jonas }
}

/** @param {Page} page @param {string} text */
export async function say(page, text) {
  await composer(page).fill(text)
  await composer(page).press('Enter')
}

/**
 * Notes when a bar shows a value.
 *
 * @param {Locator} progress
 * @param {string} value as aria-valuenow has it
 * @returns {Promise<number>} ms since 1970
 */
function whenItShows(progress, value) {
  return progress.evaluate(
    (element, { wanted, most }) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (element.getAttribute('aria-valuenow') === wanted) resolve(Date.now())
        }
        new MutationObserver(look).observe(element, { attributes: true })
        look()
        setTimeout(() => { reject(new Error(`the bar doesn't come to ${wanted}`)) }, most)
      }),
    { wanted: value, most: patience },
  )
}

/**
 * A customer completes a task: the bars of all others move, in their projects and on their overviews.
 *
 * @param {Browser} browser
 * @param {string} base
 * @param {(line: string) => void} tell
 */
export async function theBarMoves(browser, base, tell) {
  const elena = await Somebody.signIn(browser, base, people.elena)
  const ben = await Somebody.signIn(browser, base, people.ben)
  const jonas = await Somebody.signIn(browser, base, people.jonas)
  const maya = await Somebody.signIn(browser, base, people.maya)
  const id = await elena.project(shop)
  await elena.goto(`/projects/${id}`)
  await jonas.goto(`/projects/${id}`)
  await ben.goto('/')
  await maya.goto('/')
  /** @type {{ progress: { done: number, total: number } }} */
  const { progress } = await elena.api('GET', `/api/projects/${id}`)
  const percent = String(Math.floor((100 * (progress.done + 1)) / progress.total))
  const others = { jonas, ben, maya }
  for (const someone of [elena, ...Object.values(others)]) await bar(someone.page, shop).first().waitFor()
  const shown = Object.entries(others).map(([name, someone]) => ({ name, at: whenItShows(bar(someone.page, shop).first(), percent) }))

  const task = elena.page.getByRole('checkbox', { name: 'Complete “Write the page about us”' })
  await task.waitFor()
  await until('the live connection', () => elena.page.locator('.banner').count().then((n) => n === 0))
  const clicked = await task.evaluate((element) => {
    const now = Date.now()
    if (element instanceof HTMLElement) element.click()
    return now
  })
  const moved = await Promise.all(shown.map(async ({ name, at }) => ({ name, at: await at })))
  for (const { name, at } of moved) tell(`a click moves the bar of ${name} after ${at - clicked} ms`)
  await until('her own bar to move', async () => (await bar(elena.page, shop).first().getAttribute('aria-valuenow')) === percent)

  // The list moves, too: nobody else has it among the outstanding ones any more.
  await jonas.page.getByRole('checkbox', { name: 'Complete “Write the page about us”' }).waitFor({ state: 'detached' })
  for (const someone of [elena, ...Object.values(others)]) {
    assert.deepEqual(someone.errors, [])
    await someone.leave()
  }
}

/**
 * A question reaches staff, is answered, seen, edited, and is all there after a reload, in order.
 *
 * @param {Browser} browser
 * @param {string} base
 */
export async function aQuestionIsAnswered(browser, base) {
  const tom = await Somebody.signIn(browser, base, people.tom)
  const priya = await Somebody.signIn(browser, base, people.priya)
  const id = await tom.project('Hughes Cycles')
  await tom.goto(`/projects/${id}/chat`)
  await priya.goto('/')
  await composer(tom.page).waitFor()

  // Staff see on their overview that something waits, and in the bell what.
  await say(tom.page, 'Which day do we **switch over**?')
  await message(tom.page, 'Which day do we switch over?').waitFor()
  await priya.page.getByRole('button', { name: /Notifications: \d+ new/ }).click()
  await priya.page.getByRole('link', { name: /Tom Hughes asked/ }).first().click()
  await priya.page.waitForURL(/\/chat\//)
  await message(priya.page, 'Which day do we switch over?').waitFor()
  assert.equal(await message(priya.page, 'Which day').locator('strong').textContent(), 'switch over')

  // Tom sees that she has seen it, and that she writes.
  await tom.page.getByText(/Seen by .*Priya/).first().waitFor()
  await isSeenTyping(priya.page, tom.page, /Priya is typing/)
  await say(priya.page, 'On Tuesday at seven.')
  await message(tom.page, 'On Tuesday at seven.').waitFor()

  // She corrects it: both see the new text, and that it was edited.
  await message(priya.page, 'On Tuesday at seven.').waitFor()
  await composer(priya.page).press('ArrowUp')
  const edit = priya.page.getByRole('textbox', { name: 'Edit the message' })
  await edit.fill('On Wednesday at seven.')
  await edit.press('Enter')
  await message(tom.page, 'On Wednesday at seven.').getByText('edited').waitFor()

  // Deleted, it leaves a trace and no text.
  await say(tom.page, 'Sorry, wrong window')
  const wrong = message(tom.page, 'Sorry, wrong window')
  await wrong.waitFor()
  await wrong.hover()
  await wrong.getByRole('button', { name: 'More for this message' }).click()
  await tom.page.getByRole('menuitem', { name: /Delete/ }).click()
  await tom.page.getByRole('button', { name: 'Delete message' }).click()
  await message(priya.page, 'This message was deleted.').waitFor()
  assert.equal(await message(priya.page, 'Sorry, wrong window').count(), 0)

  const clean = (/** @type {string[]} */ all) => all.map((t) => t.replace(/Seen by.*$/, '').trim())
  await tom.page.reload()
  await priya.page.reload()
  for (const someone of [tom, priya]) await message(someone.page, 'This message was deleted.').waitFor()
  const stored = /** @type {{ messages: { seq: number, body: string }[] }} */ (
    await tom.api('GET', `/api/conversations/${priya.page.url().replace(/.*\/chat\/(\d+).*/, '$1')}/messages?after=0&limit=200`)
  ).messages
  const seqs = stored.map((m) => m.seq)
  assert.deepEqual(seqs, seqs.map((_, i) => i + 1), 'messages are numbered 1, 2, 3 …')
  const shown = clean(await texts(tom.page))
  assert.deepEqual(shown.map((t) => Number(t.split(' ')[0])), seqs.slice(-shown.length))
  for (const someone of [tom, priya]) {
    assert.deepEqual(someone.errors, [])
    await someone.leave()
  }
}

/**
 * Counts agree in all tabs.
 *
 * @param {Browser} browser
 * @param {string} base
 */
export async function countsAgree(browser, base) {
  const amara = await Somebody.signIn(browser, base, people.amara)
  const maya = await Somebody.signIn(browser, base, people.maya)
  const id = await maya.project('Diallo Dental')
  await amara.goto('/account')
  const second = await amara.tab()
  await second.goto('/')
  const third = await Somebody.signIn(browser, base, people.amara) // another device
  await third.goto('/preferences')
  const tabs = [amara, second, third]
  const bell = (/** @type {Page} */ page, /** @type {number} */ n) =>
    page.getByRole('button', { name: n === 0 ? 'Notifications' : `Notifications: ${n} new`, exact: true })
  for (const tab of tabs) await bell(tab.page, 0).waitFor()

  const me = /** @type {{ id: number }} */ (await amara.api('GET', '/api/me'))
  const titles = ['First', 'Second', 'Third']
  for (const title of titles) await maya.api('POST', `/api/projects/${id}/tasks`, { title, assignee_id: me.id })
  for (const tab of tabs) await bell(tab.page, 3).waitFor()

  // What is shown in one tab isn't new in any, and stays unread until it is read.
  await amara.page.getByRole('button', { name: /^Notifications/ }).click()
  await amara.page.getByRole('link', { name: 'All notifications' }).click()
  const unread = amara.page.locator('main li.item.unread')
  await until('three unread ones to be listed', async () => (await unread.count()) === 3)
  for (const tab of tabs) await bell(tab.page, 0).waitFor()
  await second.page.getByRole('button', { name: /^Notifications/ }).click()
  await second.page.getByRole('button', { name: 'Mark all read' }).click()
  await until('nothing to be unread in the other tab', async () => (await unread.count()) === 0)
  for (const tab of tabs) assert.deepEqual(tab.errors, [])
  await amara.leave()
  await third.leave()
  await maya.leave()
}
