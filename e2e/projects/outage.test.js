import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { openBrowser, people, Somebody } from './lib/people.js'
import { Program, until } from './lib/program.js'
import { bar, bothInTheChat, composer, message, onceEach, say, texts } from './lib/scenarios.js'
import { Wire } from './lib/wire.js'

/** @type {Program} */
let program
/** @type {Wire} */
let wire
/** @type {import('playwright-core').Browser} */
let browser

before(async () => {
  program = await Program.start()
  wire = await Wire.to(program.port)
  browser = await openBrowser()
})

after(async () => {
  await browser.close()
  await wire.close()
  await program.remove()
})

/** How often each of some texts is among the messages of a window. @param {Somebody} who @param {string[]} wanted */
async function occurrences(who, wanted) {
  const all = await texts(who.page)
  return wanted.map((text) => all.filter((t) => t.includes(text)).length)
}

test('what is missed while the network is away for 20 s arrives once', async () => {
  const tom = await Somebody.signIn(browser, wire.url, people.tom)
  const priya = await Somebody.signIn(browser, program.url, people.priya)
  const id = await tom.project('Hughes Cycles')
  await tom.goto(`/projects/${id}/chat`)
  await priya.goto(`/projects/${id}/chat`)
  await composer(tom.page).waitFor()
  await composer(priya.page).waitFor()
  await say(priya.page, 'before the cut')
  await message(tom.page, 'before the cut').waitFor()

  wire.cut()
  const cut = Date.now()
  const lines = Array.from({ length: 8 }, (_, i) => `while away ${i + 1}`)
  for (const line of lines) await say(priya.page, line)
  await message(priya.page, 'while away 8').waitFor()
  /** @type {{ tasks: { id: number, completed_at: string | null }[], progress: { done: number, total: number } }} */
  const project = await priya.api('GET', `/api/projects/${id}`)
  const task = project.tasks.find((t) => t.completed_at === null)
  assert.ok(task)
  await priya.api('POST', `/api/tasks/${task.id}/complete`)
  // What one writes meanwhile waits, and is sent once.
  await say(tom.page, 'written without a network')
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, cut + 20_000 - Date.now())))
  assert.deepEqual(await occurrences(tom, lines), lines.map(() => 0), 'nothing came through')
  wire.mend()

  await message(tom.page, 'while away 8').waitFor()
  await message(priya.page, 'written without a network').waitFor()
  await message(tom.page, 'written without a network').waitFor()
  await onceEach(tom.page, lines)
  await onceEach(priya.page, ['written without a network'])
  const percent = String(Math.floor((100 * (project.progress.done + 1)) / project.progress.total))
  await until('the bar to be right', async () => (await bar(tom.page, 'Hughes Cycles: website relaunch').first().getAttribute('aria-valuenow')) === percent)
  const order = (await texts(tom.page)).map((t) => Number(t.split(' ')[0]))
  assert.deepEqual(order, [...order].sort((a, b) => a - b))
  assert.equal(new Set(order).size, order.length)
  await tom.leave()
  await priya.leave()
})

test('a server that is killed and started again under open pages loses nothing', async () => {
  const { elena, jonas } = await bothInTheChat(browser, program.url)
  await say(elena.page, 'first')
  await message(jonas.page, 'first').waitFor()

  await program.kill()
  // What is written while it is down waits in the page, also across a reload of another one.
  await say(elena.page, 'while it was down')
  await until('the page to notice', () => jonas.page.locator('.banner').count())
  await program.start()
  await message(jonas.page, 'while it was down').waitFor()
  await say(jonas.page, 'and back')
  await message(elena.page, 'and back').waitFor()
  for (const someone of [elena, jonas]) {
    await onceEach(someone.page, ['while it was down', 'and back'])
    await until('the banner to be gone', async () => (await someone.page.locator('.banner').count()) === 0)
  }
  await elena.page.reload()
  await message(elena.page, 'and back').waitFor()
  await onceEach(elena.page, ['while it was down', 'and back'])
  await elena.leave()
  await jonas.leave()
})

test('a message that was refused can be sent again after a reload, or discarded', async () => {
  const tom = await Somebody.signIn(browser, program.url, people.tom)
  const id = await tom.project('Hughes Cycles')
  await tom.goto(`/projects/${id}/chat`)
  await composer(tom.page).waitFor()
  // The server refuses it, which trying again can't help.
  await tom.page.route('**/api/conversations/*/messages', (route) =>
    route.request().method() === 'POST'
      ? route.fulfill({ status: 403, contentType: 'application/problem+json', body: JSON.stringify({ status: 403, title: 'Forbidden', detail: 'Not now.' }) })
      : route.continue(),
  )
  await say(tom.page, 'keep this one')
  await tom.page.getByText('Not sent. Not now.').waitFor()
  await say(tom.page, 'drop this one')
  await until('both to be refused', async () => (await tom.page.getByRole('button', { name: 'Retry' }).count()) === 2)
  await tom.page.unroute('**/api/conversations/*/messages')
  await tom.page.reload()
  const kept = tom.page.locator('article.pending').filter({ hasText: 'keep this one' })
  const dropped = tom.page.locator('article.pending').filter({ hasText: 'drop this one' })
  await kept.getByRole('button', { name: 'Retry' }).click()
  await message(tom.page, 'keep this one').waitFor()
  await dropped.getByRole('button', { name: 'Discard' }).click()
  await dropped.waitFor({ state: 'detached' })
  await tom.page.reload()
  await message(tom.page, 'keep this one').waitFor()
  assert.deepEqual(await occurrences(tom, ['keep this one', 'drop this one']), [1, 0])
  await tom.leave()
})
