// What the server asks of a password; it is the one that decides.

const least = 10

export const passwordHint = `At least ${least} characters. A few words that only you put together are good.`

/** What is wrong with it, if anything. */
export function passwordProblem(password: string): string | undefined {
  if (password === '') return 'Choose a password.'
  const length = Array.from(password).length
  if (length < least) return `This has ${length} ${length === 1 ? 'character' : 'characters'}; ${least} are needed.`
  return undefined
}
