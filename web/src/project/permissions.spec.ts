import { expect, test } from 'vitest'

import type { Role, Status } from '@/api/types'

import { aMember, aProject, ME } from './fixture'
import { permissions, roleOf } from './permissions'

test.each<{ role: Role; status: Status; want: string[] }>([
  { role: 'customer', status: 'active', want: ['complete'] },
  { role: 'customer', status: 'finished', want: [] },
  { role: 'staff', status: 'active', want: ['complete', 'edit', 'finish', 'invite', 'audit'] },
  { role: 'staff', status: 'finished', want: ['finish', 'invite', 'audit'] },
  { role: 'staff', status: 'archived', want: ['audit'] },
  { role: 'lead', status: 'active', want: ['complete', 'edit', 'finish', 'invite', 'audit', 'lead'] },
  { role: 'lead', status: 'archived', want: ['audit', 'lead'] },
])('$role of a project that is $status may: $want', ({ role, status, want }) => {
  const can = permissions(aProject({ role, status }), ME)
  const may = (['complete', 'edit', 'finish', 'invite', 'audit', 'lead'] as const).filter((one) => can[one])
  expect(may).toEqual(want)
  expect(can.reason === '').toBe(status === 'active')
})

test('a role that changes while one looks is the new one; an admin is a lead whatever their row says', () => {
  const project = aProject({ role: 'staff', members: [aMember({ id: ME.id, role: 'lead' })] })
  expect(roleOf(project, ME)).toBe('lead')
  expect(roleOf({ ...project, role: 'lead', members: [aMember({ id: ME.id, role: 'staff' })] }, ME)).toBe('staff')
  expect(roleOf({ ...project, role: 'lead', members: [] }, { ...ME, admin: true })).toBe('lead')
})
