import type { Role } from '@/api/types'

export const ROLES: Readonly<Record<Role, string>> = { lead: 'Lead', staff: 'Staff', customer: 'Customer' }

/** What somebody of a role may do to somebody of another one: as the server decides it. */
export function mayRemove(mine: Role, theirs: Role): boolean {
  return mine === 'lead' || (mine === 'staff' && theirs === 'customer')
}

/** Whom somebody of a role may invite. */
export function invitable(mine: Role): Role[] {
  if (mine === 'lead') return ['customer', 'staff']
  return mine === 'staff' ? ['customer'] : []
}
