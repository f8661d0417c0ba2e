// Lines of JSON: commands on standard input, answers and happenings on standard output.

import { createInterface } from 'node:readline'

import { failure } from './clients.js'

/** @import { Answer, Command, Handle, Happening } from './protocol.js' */

/** @param {Answer | Happening} line */
export function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

/**
 * Handles commands until standard input ends: whoever started this program is done with it, or gone.
 *
 * @param {Handle} handle
 */
export async function serve(handle) {
  /** @type {AsyncIterable<string>} */
  const lines = createInterface({ input: process.stdin })
  for await (const line of lines) {
    /** @type {unknown} */
    const parsed = JSON.parse(line)
    const command = /** @type {Command} */ (parsed)
    // Commands don't wait for one another.
    handle(command).then(
      (result) => { say({ id: command.id, result }) },
      (/** @type {unknown} */ error) => { say({ id: command.id, error: failure(error) }) },
    )
  }
}
