import { ApiError, problem, type RequestOptions } from './client'

export interface UploadOptions extends Pick<RequestOptions, 'signal' | 'timeout'> {
  /** Told from 0 to 1 while it is sent. */
  onProgress?: (fraction: number) => void
}

/** Sends a file as it is. By XMLHttpRequest, since fetch doesn't tell how far it is. */
export function upload<T>(path: string, file: Blob, options: UploadOptions = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    const abort = (): void => {
      request.abort()
    }
    const failed = (error: unknown): void => {
      options.signal?.removeEventListener('abort', abort)
      reject(error instanceof Error ? error : new Error(String(error)))
    }
    if (options.signal?.aborted) {
      failed(options.signal.reason)
      return
    }
    request.open('POST', path)
    request.timeout = options.timeout ?? 10 * 60_000
    request.setRequestHeader('Content-Type', 'application/octet-stream')
    request.setRequestHeader('Accept', 'application/json')
    request.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) options.onProgress?.(event.loaded / event.total)
    })
    request.addEventListener('load', () => {
      if (request.status < 200 || request.status > 299) {
        failed(problem(request.status, request.responseText, request.getResponseHeader('Retry-After')))
        return
      }
      options.signal?.removeEventListener('abort', abort)
      resolve(JSON.parse(request.responseText) as T)
    })
    request.addEventListener('error', () => {
      failed(new ApiError(0, 'The file didn’t reach the server. Check your connection and try again.'))
    })
    request.addEventListener('timeout', () => {
      failed(new ApiError(0, 'Sending the file took too long. Try again.'))
    })
    request.addEventListener('abort', () => {
      failed(options.signal?.reason ?? new DOMException('aborted', 'AbortError'))
    })
    options.signal?.addEventListener('abort', abort, { once: true })
    request.send(file)
  })
}
