// Where a notification leads.

/** A path of this page, or null for an address elsewhere or none. */
export function pathOf(link: string | null): string | null {
  if (link?.startsWith('/')) {
    const url = new URL(link, location.origin)
    return url.origin === location.origin ? url.pathname + url.search + url.hash : null
  }
  return null
}

/** An address elsewhere: http or https alone. */
export function addressOf(link: string | null): string | null {
  return link !== null && /^https?:\/\//i.test(link) ? link : null
}
