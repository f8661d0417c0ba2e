// Files that are being attached to the next message.

import { computed, onScopeDispose, ref } from 'vue'

import { errorText } from '../api/client'
import type { Attachment } from '../api/types'
import { requests } from './requests'
import { fileSize } from './size'

export interface Upload {
  /** Of this page only. */
  id: number
  name: string
  size: number
  state: 'sending' | 'done' | 'failed'
  /** From 0 to 1. */
  progress: number
  error: string
  attachment: Attachment | null
}

/** What a message may take along; the server has the last word. */
export const most = { files: 10, bytes: 10 * 1024 * 1024 }

export function useUploads(conversation: number) {
  const uploads = ref<Upload[]>([])
  /** What can't be attached at all, for people. */
  const refusal = ref('')
  const under = new Map<number, AbortController>()
  let last = 0

  function change(id: number, changes: Partial<Upload>): void {
    uploads.value = uploads.value.map((each) => (each.id === id ? { ...each, ...changes } : each))
  }

  function refused(file: File): string {
    if (uploads.value.length >= most.files)
      return `A message takes ${most.files} files; “${file.name}” is one too many.`
    if (file.size > most.bytes)
      return `“${file.name}” has ${fileSize(file.size)}; files can have up to ${fileSize(most.bytes)}.`
    // A folder looks like an empty file, too.
    return file.size === 0 ? `“${file.name}” is empty or a folder, and can’t be attached.` : ''
  }

  function add(files: Iterable<File>): void {
    refusal.value = ''
    for (const file of files) {
      const reason = refused(file)
      if (reason) refusal.value = reason
      else void send(file)
    }
  }

  async function send(file: File): Promise<void> {
    const id = ++last
    const abort = new AbortController()
    under.set(id, abort)
    uploads.value = [
      ...uploads.value,
      { id, name: file.name, size: file.size, state: 'sending', progress: 0, error: '', attachment: null },
    ]
    try {
      const attachment = await requests.attach(conversation, file, {
        signal: abort.signal,
        onProgress: (progress) => {
          change(id, { progress })
        },
      })
      change(id, { state: 'done', progress: 1, attachment })
    } catch (error) {
      if (!abort.signal.aborted) change(id, { state: 'failed', error: errorText(error) })
    } finally {
      under.delete(id)
    }
  }

  function remove(id: number): void {
    const gone = uploads.value.find((each) => each.id === id)
    under.get(id)?.abort()
    uploads.value = uploads.value.filter((each) => each.id !== id)
    refusal.value = ''
    // If this fails, the server takes it away by itself after a day.
    if (gone?.attachment) requests.detach(gone.attachment.id).catch(() => undefined)
  }

  onScopeDispose(() => {
    for (const abort of under.values()) abort.abort()
  })

  return {
    uploads,
    refusal,
    add,
    remove,
    busy: computed(() => uploads.value.some((each) => each.state === 'sending')),
    failed: computed(() => uploads.value.some((each) => each.state === 'failed')),
    /** What has arrived, handed over to a message. */
    take: (): Attachment[] => {
      const done = uploads.value.flatMap((each) => (each.attachment ? [each.attachment] : []))
      uploads.value = []
      refusal.value = ''
      return done
    },
  }
}
