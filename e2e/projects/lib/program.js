// Runs bin/projects as people run it, in a data folder of its own.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** How long anything may take on a machine that is busy with other things; what is waited for takes milliseconds. */
export const patience = Number(process.env.PATIENCE ?? 120_000)

const binary = process.env.PROJECTS_BIN ?? path.resolve(import.meta.dirname, '../../../bin/projects')

/**
 * A port that nobody listens on. It is below those that systems give away by themselves, so that nobody gets it for a connection of
 * theirs while the program is away for a moment, and none that browsers refuse.
 *
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 18_000)
    /** @type {boolean} */
    const free = await new Promise((resolve) => {
      const server = net.createServer()
      server.on('error', () => { resolve(false) })
      server.listen(port, '127.0.0.1', () => server.close(() => { resolve(true) }))
    })
    if (free) return port
  }
}

/**
 * Waits until something holds.
 *
 * @template T
 * @param {string} what is waited for
 * @param {() => T | Promise<T>} check
 * @returns {Promise<NonNullable<T>>} the first of its values that is truthy
 */
export async function until(what, check) {
  const deadline = Date.now() + patience
  for (;;) {
    const value = await check()
    if (value) return value
    if (Date.now() > deadline) throw new Error(`in vain waited for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A folder that is gone when the process ends in order. @param {string} name */
export async function folder(name) {
  return mkdtemp(path.join(tmpdir(), `projects-${name}-`))
}

/** A run of `projects serve`, which can be killed and started again on the same data and port. */
export class Program {
  /** @type {import('node:child_process').ChildProcess | null} */
  #child = null
  #output = ''

  /**
   * @param {string} dir data folder
   * @param {number} port
   * @param {string[]} flags
   */
  constructor(dir, port, flags) {
    this.dir = dir
    this.port = port
    this.flags = flags
    this.url = `http://127.0.0.1:${port}`
  }

  /**
   * @param {string[]} flags
   * @param {string} [dir] a data folder that others use as well
   */
  static async start(flags = [], dir) {
    if (!existsSync(binary)) throw new Error(`${binary} is missing: make build makes it`)
    const program = new Program(dir ?? (await folder('data')), await freePort(), flags)
    await program.start()
    return program
  }

  async start() {
    const child = spawn(binary, ['serve', '--data-dir', this.dir, '--listen', `127.0.0.1:${this.port}`, ...this.flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    const collect = (/** @type {Buffer} */ chunk) => {
      this.#output = (this.#output + chunk.toString()).slice(-20_000)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    try {
      await until(`${this.url} to answer`, async () => {
        if (child.exitCode !== null) throw new Error(`projects ended with ${child.exitCode}:\n${this.#output}`)
        const response = await fetch(`${this.url}/readyz`).catch(() => null)
        return response?.ok
      })
    } catch (error) {
      await this.#end('SIGTERM') // else the test would wait for it for ever
      throw error
    }
  }

  /** Runs SQL as an operator does, and returns what it says. @param {string} sql */
  psql(sql) {
    const url = readFileSync(path.join(this.dir, 'url'), 'utf8').trim()
    return execFileSync('psql', [url, '-qAtX', '-v', 'ON_ERROR_STOP=1', '-c', sql], { encoding: 'utf8', timeout: patience }).trim()
  }

  /** What it has said. */
  get output() {
    return this.#output
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    const late = setTimeout(() => child.kill('SIGKILL'), patience)
    await ended
    clearTimeout(late)
    this.#child = null
  }

  /** Ends it as a power cut would; its PostgreSQL goes on. */
  async kill() {
    await this.#end('SIGKILL')
  }

  /** Ends it in order, with its PostgreSQL unless others use that. */
  async stop() {
    await this.#end('SIGTERM')
  }

  /** Ends it and removes its data. */
  async remove() {
    if (this.#child === null) await this.start() // what was killed has left its PostgreSQL running
    await this.stop()
    await rm(this.dir, { recursive: true, force: true, maxRetries: 10 })
  }
}

/**
 * Runs a command of bin/projects to its end.
 *
 * @param {string[]} args
 * @returns {Promise<{ code: number | null, output: string }>}
 */
export async function command(args) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (/** @type {Buffer} */ chunk) => (output += chunk.toString()))
  child.stderr.on('data', (/** @type {Buffer} */ chunk) => (output += chunk.toString()))
  return new Promise((resolve) => {
    child.once('close', (code) => {
      resolve({ code, output })
    })
  })
}
