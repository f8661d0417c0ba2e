// What the chat asks of the server.

import { del, get, patch, post } from '../api/client'
import type { Attachment, Chat, Conversation, Hit, Message, MessagePage, Reader } from '../api/types'
import { upload, type UploadOptions } from '../api/upload'

export interface Edit {
  body: string
  written_at: string
}

export interface NewMessage {
  key: string
  body: string
  attachments: number[]
  mentions: number[]
}

/** A page in one direction from a message, or around it. */
export interface PageQuery {
  from: 'before' | 'after' | 'around'
  seq: number
}

const path = (conversation: number): string => `/api/conversations/${conversation}`

export const requests = {
  open: (conversation: number, at: number | null, signal?: AbortSignal) =>
    get<Chat>(path(conversation) + (at === null ? '' : `?at=${at}`), signal ? { signal } : {}),
  page: (conversation: number, query: PageQuery, signal?: AbortSignal) => {
    return get<MessagePage>(
      `${path(conversation)}/messages?${query.from}=${query.seq}&limit=100`,
      signal ? { signal } : {},
    )
  },
  send: (conversation: number, message: NewMessage) => post<Message>(`${path(conversation)}/messages`, message),
  edit: (message: number, body: string, version: number) =>
    patch<Message>(`/api/messages/${message}`, { body, version }),
  remove: (message: number) => del<Message>(`/api/messages/${message}`),
  edits: (message: number) => get<{ edits: Edit[] }>(`/api/messages/${message}/edits`),
  read: (conversation: number, seq: number) => post<Reader>(`${path(conversation)}/read`, { up_to_seq: seq }),
  typing: (conversation: number) => post(`${path(conversation)}/typing`),
  start: (project: number, subject: string, key: string) =>
    post<Conversation>(`/api/projects/${project}/conversations`, { subject, key }),
  attach: (conversation: number, file: File, options: UploadOptions) =>
    upload<Attachment>(`${path(conversation)}/attachments?name=${encodeURIComponent(file.name)}`, file, options),
  detach: (attachment: number) => del(`/api/attachments/${attachment}`),
  search: (query: string, before: number, signal: AbortSignal) =>
    get<{ hits: Hit[]; next: number }>(
      `/api/search?q=${encodeURIComponent(query)}&limit=30${before === 0 ? '' : `&before=${before}`}`,
      { signal },
    ),
}

/** Where an attachment is served. */
export function attachmentURL(attachment: Pick<Attachment, 'id'>, download = false): string {
  return `/api/attachments/${attachment.id}${download ? '?download=1' : ''}`
}
