import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'

import { openBrowser, people, Somebody } from './lib/people.js'
import { patience, Program, until } from './lib/program.js'
import { bothInTheChat, composer, isSeenTyping, message, onceEach, say, shop, texts } from './lib/scenarios.js'

/**
 * @import { Locator, Page } from 'playwright-core'
 */

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

const database = () => readFileSync(path.join(program.dir, 'url'), 'utf8').trim()

/** The heading of the open conversation. @param {Page} page @param {string} text */
const subject = (page, text) => page.getByRole('region', { name: 'Chat' }).getByRole('heading', { name: text, exact: true })

/** @param {string} what @param {Locator} locator */
const toHaveFocus = (what, locator) => until(`${what} to have the focus`, () => locator.evaluate((element) => element === document.activeElement))

test('whoever starts a conversation can write in it at once', async () => {
  const jonas = await Somebody.signIn(browser, program.url, people.jonas)
  const { page } = jonas
  const id = await jonas.project(shop)
  for (const [width, about] of /** @type {const} */ ([[1280, 'Photos of the shop'], [600, 'Opening hours']])) {
    await page.setViewportSize({ width, height: 860 })
    await jonas.goto(`/projects/${id}/chat`)
    await composer(page).waitFor()
    await page.getByRole('button', { name: 'All conversations' }).click()
    await page.getByRole('button', { name: 'New conversation' }).click()
    await toHaveFocus('the subject', page.getByRole('textbox', { name: 'Subject' }))
    await page.keyboard.type(about)
    await page.keyboard.press('Enter')
    await subject(page, about).waitFor()
    await toHaveFocus('the composer', composer(page))
    await page.keyboard.type(`First words: ${about}`)
    await page.keyboard.press('Enter')
    await message(page, `First words: ${about}`).waitFor()
  }

  await page.setViewportSize({ width: 1280, height: 860 })
  /** @type {{ tasks: { id: number, title: string, conversation_id: number | null }[] }} */
  const project = await jonas.api('GET', `/api/projects/${id}`)
  const task = project.tasks.find((t) => t.conversation_id === null)
  assert.ok(task)
  for (const button of ['Ask about this task', 'Open its conversation']) {
    await jonas.goto(`/projects/${id}?task=${task.id}`)
    await page.getByRole('button', { name: button }).click()
    await subject(page, task.title).waitFor()
    await toHaveFocus('the composer', composer(page))
  }
  assert.deepEqual(jonas.errors, [])
  await jonas.leave()
})

test('keys go from message to message, into its menu, and back', async () => {
  const jonas = await Somebody.signIn(browser, program.url, people.jonas)
  const { page } = jonas
  const id = await jonas.project(shop)
  await jonas.goto(`/projects/${id}/chat`)
  await composer(page).waitFor()
  await say(page, 'one for the keys')
  await message(page, 'one for the keys').waitFor()
  await page.getByRole('log').focus()
  await page.keyboard.press('ArrowUp')
  await toHaveFocus('the last message', message(page, 'one for the keys'))
  await page.keyboard.press('ArrowUp')
  await page.keyboard.press('ArrowDown')
  await toHaveFocus('the last message', message(page, 'one for the keys'))
  const more = message(page, 'one for the keys').getByRole('button', { name: 'More for this message' })
  await more.focus()
  await page.keyboard.press('Enter')
  await page.getByRole('menu').waitFor()
  await page.keyboard.press('Escape')
  await toHaveFocus('the message again', message(page, 'one for the keys'))
  await more.focus()
  await page.keyboard.press('Enter')
  await page.getByRole('menuitem', { name: 'Delete' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
  await toHaveFocus('the message after the dialog', message(page, 'one for the keys'))
  await page.keyboard.press('Escape')
  await toHaveFocus('the composer', composer(page))
  await jonas.leave()
})

test('files are chosen, pasted and dropped; what can’t be sent is refused with a sentence', async () => {
  const elena = await Somebody.signIn(browser, program.url, people.elena)
  const { page } = elena
  const id = await elena.project(shop)
  await elena.goto(`/projects/${id}/chat`)
  await composer(page).waitFor()
  const chooser = page.locator('input[type=file]')
  const files = page.getByRole('list', { name: 'Files to send' })

  await chooser.setInputFiles({ name: 'film.txt', mimeType: 'text/plain', buffer: Buffer.alloc(10 * 1024 * 1024 + 1, 'a') })
  await page.getByRole('alert').filter({ hasText: '“film.txt”' }).filter({ hasText: 'up to 10' }).waitFor()
  await chooser.setInputFiles({ name: 'photo.png', mimeType: 'image/png', buffer: Buffer.from('<!doctype html><script>alert(1)</script>') })
  const refused = files.getByRole('listitem').filter({ hasText: 'photo.png' })
  await refused.getByRole('alert').filter({ hasText: /\w+ .*\.$/ }).waitFor()
  assert.equal(await page.getByRole('button', { name: 'Send', exact: true }).isDisabled(), true)
  await refused.getByRole('button', { name: 'Remove photo.png' }).click()

  const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
  await chooser.setInputFiles({ name: 'dot.png', mimeType: 'image/png', buffer: Buffer.from(pixel, 'base64') })
  for (const [kind, name] of [['paste', 'pasted.txt'], ['drop', 'dropped.txt']]) {
    await composer(page).evaluate((field, [type, file]) => {
      const data = new DataTransfer()
      data.items.add(new File([`what is in ${file ?? ''}`], file ?? '', { type: 'text/plain' }))
      const options = { bubbles: true, cancelable: true }
      field.dispatchEvent(type === 'paste'
        ? new ClipboardEvent('paste', { ...options, clipboardData: data })
        : new DragEvent('drop', { ...options, dataTransfer: data }))
    }, [kind, name])
  }
  await until('three files to have arrived', async () => (await files.locator('.done').count()) === 3)
  await say(page, 'three files')
  const sent = message(page, 'three files')
  await sent.getByRole('button', { name: /^Picture dot\.png/ }).waitFor()
  for (const name of ['pasted.txt', 'dropped.txt']) await sent.getByRole('link', { name }).waitFor()
  assert.deepEqual(elena.errors, [])
  await elena.leave()
})

test('10,000 messages: what one reads stays where it is while older ones come', async () => {
  const jonas = await Somebody.signIn(browser, program.url, people.jonas)
  const { page } = jonas
  const id = await jonas.project(shop)
  const conversation = program.psql(`WITH c AS (
      INSERT INTO projects.conversation (project_id, subject, last_seq, last_message_at) VALUES (${id}, 'Ten thousand', 10000, now()) RETURNING id
    ), reader AS (
      INSERT INTO projects.reader (conversation_id, person_id, read_seq) SELECT c.id, p.id, 10000 FROM c, projects.person p WHERE p.email = '${people.jonas}'
    ), m AS (
      INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html, created_at)
      SELECT c.id, i, (array_agg(p.id ORDER BY p.id))[1 + (i / 3) % count(*)], 'many-' || i, t, '<p>' || t || '</p>', now() - (10000 - i) * interval '3 minutes'
      FROM c, projects.person p, generate_series(1, 10000) i, LATERAL (SELECT 'Message ' || i || repeat(' and some words of it', (i * 7919) % 23) AS t) x
      GROUP BY c.id, i, t
    ) SELECT id FROM c`)
  // So slow that one gets to the top of what is there before there is more.
  await page.route('**/messages?*', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 150))
    await route.continue()
  })
  await jonas.goto(`/projects/${id}/chat/${conversation}`)
  await message(page, 'Message 10000').waitFor()
  for (const step of [150, 900, 37]) {
    const moved = await page.getByRole('log').evaluate(async (view, { by, most }) => {
      const pages = () => performance.getEntriesByType('resource').filter(({ name }) => name.includes('/messages?')).length
      const [had, end] = [pages(), Date.now() + most]
      const frame = () => new Promise((resolve) => {
        requestAnimationFrame(() => setTimeout(resolve))
      })
      const places = () => {
        const { top, bottom } = view.getBoundingClientRect()
        return new Map([...view.querySelectorAll('[data-seq] .body')].flatMap((body) => {
          const at = body.getBoundingClientRect()
          return at.bottom > top && at.top < bottom ? [[body.closest('[data-seq]')?.getAttribute('data-seq'), at.top]] : []
        }))
      }
      let worst = 0
      // Until older ones have come while one scrolled, however long they took.
      for (let i = 0; i < 70 || (pages() === had && Date.now() < end); i++) {
        const was = places()
        const from = view.scrollTop
        view.scrollTop -= by
        const scrolled = from - view.scrollTop
        for (let n = 0; n < 2; n++) await frame()
        // At the very top there may be nothing to scroll yet: then nothing may move either.
        for (const [seq, y] of places()) {
          const former = was.get(seq)
          if (former !== undefined && from - by > 0) worst = Math.max(worst, Math.abs(y - former - scrolled))
        }
      }
      return worst
    }, { by: step, most: patience })
    assert.ok(moved <= 1, `with steps of ${step} px, rows moved by ${moved} px more than they were scrolled`)
  }
  const first = Number((await texts(page))[0]?.split(' ')[0])
  assert.ok(first < 9900, `older messages came, back to ${first}`)

  await jonas.goto(`/projects/${id}/chat/${conversation}?message=5000`)
  await message(page, 'Message 5000').and(page.locator('.highlighted')).waitFor()
  assert.ok((await page.locator('article[data-seq]').count()) < 100, 'only what is near is in the document')
  await page.getByRole('button', { name: 'Jump to the newest message' }).click()
  await message(page, 'Message 10000').waitFor()
  assert.deepEqual(jonas.errors, [])
  await jonas.leave()
})

test('positions that became worthless: pages load all anew by themselves, and nothing is lost or doubled', async () => {
  const { elena, jonas } = await bothInTheChat(browser, program.url)
  await say(elena.page, 'before the new epoch')
  await message(jonas.page, 'before the new epoch').waitFor()
  await composer(jonas.page).fill('half a thought')

  await program.kill()
  program.psql('SELECT trunkline.new_epoch()')
  await say(elena.page, 'between the epochs')
  await program.start()
  await message(jonas.page, 'between the epochs').waitFor()
  await say(elena.page, 'in the new epoch')
  await message(jonas.page, 'in the new epoch').waitFor()

  // Under way, too, while all are connected.
  program.psql('SELECT trunkline.new_epoch()')
  await say(elena.page, 'in the one after it')
  await message(jonas.page, 'in the one after it').waitFor()
  assert.equal(await composer(jonas.page).inputValue(), 'half a thought')
  for (const someone of [elena, jonas]) {
    await onceEach(someone.page, ['before the new epoch', 'between the epochs', 'in the new epoch', 'in the one after it'])
    assert.deepEqual(someone.errors, [])
    await someone.leave()
  }
})

test('two nodes on one database: presence, typing, messages and receipts go across', async () => {
  const second = await Program.start(['--database-url', database()])
  try {
    const { elena, jonas } = await bothInTheChat(browser, program.url, second.url)
    for (const [who, other] of /** @type {const} */ ([[elena, 'Jonas Weber'], [jonas, 'Elena Rossi']])) {
      await who.page.getByRole('img', { name: new RegExp(`^Here now: .*${other}`) }).waitFor()
    }
    await isSeenTyping(elena.page, jonas.page, /Elena is typing/)
    await say(elena.page, 'Across the nodes')
    await message(jonas.page, 'Across the nodes').waitFor()
    await message(elena.page, 'Across the nodes').getByText(/Seen by .*Jonas/).waitFor()
    await jonas.leave()
    await elena.leave()
  } finally {
    await second.remove()
  }
})

test('in an archived project one reads and doesn’t write', async () => {
  const maya = await Somebody.signIn(browser, program.url, people.maya)
  const elena = await Somebody.signIn(browser, program.url, people.elena)
  const id = await elena.project(shop)
  await elena.goto(`/projects/${id}/chat`)
  await composer(elena.page).waitFor()
  await maya.api('PATCH', `/api/projects/${id}`, { status: 'archived' })
  // While the page is open, and when it is opened.
  for (const [reload, shown] of [[false, true], [true, true]]) {
    if (reload) await elena.page.reload()
    await elena.page.getByText('This project is archived: its conversations can be read, and nothing can be written.').waitFor()
    await composer(elena.page).waitFor({ state: 'detached' })
    await elena.page.getByRole('button', { name: 'New conversation' }).waitFor({ state: 'detached' })
    await until('the messages to be there', async () => ((await elena.page.locator('article[data-seq]').count()) > 0) === shown)
  }
  await maya.api('PATCH', `/api/projects/${id}`, { status: 'active' })
  await composer(elena.page).waitFor()
  assert.deepEqual(elena.errors, [])
  await maya.leave()
  await elena.leave()
})
