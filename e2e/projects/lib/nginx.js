// nginx with deploy/projects/nginx.conf, changed where an operator is told to and nowhere else.

import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'

import { folder, freePort, until } from './program.js'

/**
 * @param {number} target port of the program
 * @param {number} port that it is to listen on
 */
export async function startNginx(target, port) {
  const dir = await folder('nginx')
  const key = path.join(dir, 'key.pem')
  const cert = path.join(dir, 'cert.pem')
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert,
    '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' })
  let site = readFileSync(path.resolve(import.meta.dirname, '../../../deploy/projects/nginx.conf'), 'utf8')
  const changes = {
    'server 127.0.0.1:8000;': `server 127.0.0.1:${target};`,
    'listen 80;': `listen 127.0.0.1:${await freePort()};`,
    'listen 443 ssl http2;': `listen 127.0.0.1:${port} ssl http2;`,
    'ssl_certificate     /etc/ssl/projects/fullchain.pem;': `ssl_certificate ${cert};`,
    'ssl_certificate_key /etc/ssl/projects/privkey.pem;': `ssl_certificate_key ${key};`,
  }
  for (const [from, to] of Object.entries(changes)) {
    if (site.split(from).length !== 2) throw new Error(`deploy/projects/nginx.conf has not one ${from}`)
    site = site.replace(from, to)
  }
  writeFileSync(path.join(dir, 'site.conf'), site)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${path.join(dir, kind)};`).join('\n')
  const user = process.getuid?.() === 0 ? 'user root;' : '' // else its workers can't enter the folder
  writeFileSync(path.join(dir, 'nginx.conf'), `${user}
daemon off;
worker_processes 2;
pid ${path.join(dir, 'pid')};
error_log stderr warn;
events {}
http {
access_log off;
${temporary}
include ${path.join(dir, 'site.conf')};
}
`)
  const child = spawn('nginx', ['-c', path.join(dir, 'nginx.conf'), '-p', dir, '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin` },
  })
  let said = ''
  child.stderr.on('data', (/** @type {Buffer} */ chunk) => (said += chunk.toString()))
  const url = `https://127.0.0.1:${port}`
  const answers = until('nginx to answer', () => {
    if (child.exitCode !== null) throw new Error(`nginx ended:\n${said}`)
    try {
      execFileSync('curl', ['-skf', '--max-time', '10', '-o', '/dev/null', `${url}/healthz`])
      return true
    } catch {
      return false
    }
  })
  await answers.catch((/** @type {unknown} */ error) => {
    child.kill('SIGTERM') // else the test would wait for it for ever
    throw error
  })
  return {
    url,
    async stop() {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM') // SIGKILL would leave its workers
      await ended
      await rm(dir, { recursive: true, force: true })
    },
  }
}
