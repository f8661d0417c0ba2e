import { expect, test } from 'vitest'

import { sentence } from './activity'

test.each<{ action: string; detail: Record<string, unknown>; want: string }>([
  { action: 'task.completed', detail: { title: 'Sign' }, want: 'completed “Sign”' },
  {
    action: 'task.edited',
    detail: { title: 'Sign', changed: { title: { from: 'a', to: 'b' }, due_on: true, assignee_id: true } },
    want: 'changed the title, the due date and the assignee of “Sign”',
  },
  { action: 'task.edited', detail: { title: 'Sign', changed: { rank: true } }, want: 'changed the place of “Sign”' },
  {
    action: 'task.edited',
    detail: { title: 'Sign', changed: { rank: true, milestone_id: {} } },
    want: 'changed the milestone of “Sign”',
  },
  { action: 'task.edited', detail: {}, want: 'changed something of' },
  { action: 'project.activated', detail: { was: 'archived' }, want: 'took the project out of the archive' },
  { action: 'project.activated', detail: { was: 'finished' }, want: 'went on with the project' },
  { action: 'member.role', detail: { name: 'Ben', from: 'staff', to: 'lead' }, want: 'made Ben a lead' },
  { action: 'invitation.created', detail: { email: 'a@b.c', role: 'customer' }, want: 'invited a@b.c as a customer' },
  { action: 'task.something_new', detail: {}, want: 'task something new' },
])('$action: $want', ({ action, detail, want }) => {
  expect(sentence({ action, detail })).toBe(want)
})
