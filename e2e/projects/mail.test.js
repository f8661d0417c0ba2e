import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { openBrowser, people, Somebody } from './lib/people.js'
import { Program, until } from './lib/program.js'
import { composer, message, shop } from './lib/scenarios.js'

/**
 * @typedef {{ id: string, from: string, to: string, subject: string }} Mail
 * @typedef {{ text: string, html: string, links: { url: string, text: string }[], one_click: boolean }} Letter
 */

/** @type {Program} */
let program
/** @type {import('playwright-core').Browser} */
let browser

before(async () => {
  program = await Program.start(['--mail-after', '1h'])
  browser = await openBrowser()
})

after(async () => {
  await browser.close()
  await program.remove()
})

/** @param {string} to @returns {Promise<Mail[]>} */
async function mails(to) {
  const response = await fetch(`${program.url}/dev/mail.json?to=${encodeURIComponent(to)}`)
  /** @type {unknown} */
  const answer = await response.json()
  return /** @type {{ mails: Mail[] }} */ (answer).mails
}

/** @param {Mail} mail @returns {Promise<Letter>} */
async function letter(mail) {
  const response = await fetch(`${program.url}/dev/mail/${mail.id}.json`)
  /** @type {unknown} */
  const answer = await response.json()
  return /** @type {Letter} */ (answer)
}

/** @param {Letter} mail @param {RegExp} what */
function link(mail, what) {
  const found = mail.links.find(({ url }) => what.test(url))
  assert.ok(found, `${String(what)} is none of ${mail.links.map(({ url }) => url).join(' ')}`)
  return found.url
}

test('what stays unread is mailed to the one who is away, once, and its link opens the right place', async () => {
  const jonas = await Somebody.signIn(browser, program.url, people.jonas)
  const elena = await Somebody.signIn(browser, program.url, people.elena)
  const id = await jonas.project(shop)
  /** @type {{ conversations: { id: number, subject: string }[] }} */
  const project = await jonas.api('GET', `/api/projects/${id}`)
  const general = project.conversations.find((c) => c.subject === 'General')
  assert.ok(general)
  // Elena looks at the conversation, Ben is away.
  await elena.goto(`/projects/${id}/chat/${general.id}`)
  await composer(elena.page).waitFor()
  for (const n of [1, 2, 3]) {
    await jonas.api('POST', `/api/conversations/${general.id}/messages`, { key: `news-${n}`, body: `News number ${n} <b>for you</b>` })
  }
  await message(elena.page, 'News number 3').waitFor()
  const unread = (/** @type {string} */ email) => Number(program.psql(`SELECT count(*) FROM trunkline.notification n
    JOIN projects.person p ON p.id::text = n.user_id WHERE p.email = '${email}' AND n.data->>'excerpt' LIKE 'News number%' AND n.read_at IS NULL`))
  await until('Elena to have read them', () => unread(people.elena) === 0)
  assert.equal(unread(people.ben), 3)
  // Only now does the time pass after which they are mailed.
  program.psql(`UPDATE trunkline.kind SET delay = '1 second';
    SELECT trunkline.wake_digest(ARRAY(SELECT DISTINCT user_id FROM trunkline.notification))`)

  const [digest] = await until('a mail to Ben', async () => {
    const all = await mails(people.ben)
    return all.length > 0 ? all : null
  })
  assert.ok(digest)
  const content = await letter(digest)
  assert.match(content.text, /News number 1/)
  assert.match(content.text, /News number 3/)
  assert.doesNotMatch(content.html, /<b>for you<\/b>/, 'what people write is text in mails')

  // The link leads through signing in to the message itself.
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
  const ben = await Somebody.window(context, program.url)
  await ben.page.goto(link(content, new RegExp(`/projects/${id}/chat/${general.id}`)))
  await ben.page.getByRole('textbox', { name: 'E-mail' }).fill(people.ben)
  await ben.page.getByLabel('Password', { exact: true }).fill('try-it-yourself')
  await ben.page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await ben.page.waitForURL(new RegExp(`/projects/${id}/chat/${general.id}`))
  await message(ben.page, 'News number 1').waitFor()
  assert.equal((await mails(people.ben)).length, 1, 'one mail, not one per message')
  assert.deepEqual((await mails(people.elena)).filter((m) => /News|answer/i.test(m.subject)), [], 'who has read it gets none')

  // Unsubscribing works from the mail: looking changes nothing, the button does.
  const unsubscribe = link(content, /\/v1\/unsubscribe\//)
  const page = await context.newPage()
  await page.goto(unsubscribe)
  const benPreferences = async () => {
    const { token } = /** @type {{ token: string }} */ (await ben.api('POST', '/api/token'))
    const response = await fetch(`${program.url}/v1/inbox/preferences`, { headers: { Authorization: `Bearer ${token}` } })
    return JSON.stringify(await response.json())
  }
  const before = await benPreferences()
  await page.reload()
  assert.equal(await benPreferences(), before, 'looking at the page changes nothing')
  await page.getByRole('button').first().click()
  await until('the preference to be stored', async () => (await benPreferences()).includes('"never"'))
  await context.close()
  await elena.leave()
  await jonas.leave()
})

test('an invitation comes by mail, and lets somebody new in', async () => {
  const maya = await Somebody.signIn(browser, program.url, people.maya)
  const id = await maya.project('Diallo Dental')
  await maya.goto(`/projects/${id}/people`)
  await maya.api('POST', `/api/projects/${id}/invitations`, { email: 'Nora@Diallo.example', name: 'Nora Diallo', role: 'customer' })
  const [invitation] = await until('the invitation', async () => {
    const all = await mails('nora@diallo.example')
    return all.length > 0 ? all : null
  })
  assert.ok(invitation)
  const where = link(await letter(invitation), /\/invited\//)
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
  const nora = await Somebody.window(context, program.url)
  await nora.page.goto(where)
  await nora.page.getByLabel('Password', { exact: true }).fill('her own long password')
  await nora.page.getByRole('button', { name: /and join|^Join/ }).click()
  await nora.page.waitForURL(new RegExp(`/projects/${id}$`))
  assert.equal(await nora.project('Diallo Dental'), id)
  await nora.leave()

  // It is good for one.
  const again = await browser.newContext()
  const stranger = await Somebody.window(again, program.url)
  await stranger.page.goto(where)
  await stranger.page.getByText(/used|already|no longer|isn.t/i).first().waitFor()
  await again.close()
  await maya.leave()
})

test('a forgotten password is chosen anew by mail', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
  const priya = await Somebody.window(context, program.url)
  await priya.goto('/reset')
  await priya.page.getByRole('textbox', { name: 'E-mail' }).fill(people.priya)
  await priya.page.getByRole('button', { name: /Send|link/i }).click()
  const [mail] = await until('the mail', async () => {
    const all = (await mails(people.priya)).filter((m) => /password/i.test(m.subject))
    return all.length > 0 ? all : null
  })
  assert.ok(mail)
  await priya.page.goto(link(await letter(mail), /\/reset\//))
  await priya.page.getByLabel(/New password|Password/, { exact: false }).first().fill('another long password')
  await priya.page.getByRole('button', { name: /Save|Set|Change|Choose/ }).click()
  await until('her to be signed in', async () => (await context.request.get(`${program.url}/api/me`)).ok())
  const old = await context.request.post(`${program.url}/api/session`, { data: { email: people.priya, password: 'try-it-yourself' } })
  assert.equal(old.status(), 401)
  await context.close()
})
