/**
 * A client key: a name that is given to something before the server makes it. Who sends the same key again makes nothing more, so it
 * is kept for as long as the same thing is being sent.
 */
export function newKey(): string {
  if ('randomUUID' in crypto) return crypto.randomUUID()
  // Where the page isn't served safely, browsers have no randomUUID.
  return [...(crypto as Crypto).getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
}
