import { effectScope, nextTick, ref, shallowRef, type EffectScope } from 'vue'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { channels } from './connection'
import { FakeConnection } from './fake'
import { useChannel, type ChannelHandle, type ChannelOptions } from './useChannel'

let connection: FakeConnection
let scope: EffectScope

beforeEach(() => {
  connection = new FakeConnection()
  channels.attach(connection.asConnection())
  scope = effectScope()
})
afterEach(() => {
  scope.stop()
  channels.clear()
})

function use(
  channel: Parameters<typeof useChannel>[0],
  options: Partial<ChannelOptions<unknown, unknown>>,
): { handle: ChannelHandle; deltas: unknown[] } {
  const deltas: unknown[] = []
  const handle = scope.run(() =>
    useChannel<unknown, unknown>(channel, { onDelta: (delta) => deltas.push(delta), ...options }),
  )!
  return { handle, deltas }
}

describe('useChannel', () => {
  it('waits for the snapshot, then follows from its position', () => {
    const position = shallowRef<{ epoch: string; offset: number } | null>(null)
    const { handle } = use('project:1', { position })
    expect(handle.state.value).toBe('waiting')
    expect(connection.made).toHaveLength(0)

    position.value = { epoch: 'a', offset: 4 }
    expect(handle.state.value).toBe('subscribing')
    expect(connection.of('project:1').options.since).toEqual({ epoch: 'a', offset: 4 })
    connection.of('project:1').confirm({ wasRecovering: true, recovered: true })
    expect(handle.state.value).toBe('subscribed')
  })

  it('tells deltas and signals apart', () => {
    const onSignal = vi.fn()
    const { deltas } = use('chat:1', { position: { epoch: 'a', offset: 4 }, onSignal })
    connection.of('chat:1').publish(5, 'delta', { id: 'x' })
    connection.of('chat:1').publish(undefined, 'typing', { signal: 'true' })
    expect(deltas).toEqual(['delta'])
    expect(onSignal).toHaveBeenCalledWith('typing', { signal: 'true' })
  })

  it('asks for the snapshot again where recovery fails, and follows from the new one', () => {
    const position = shallowRef({ epoch: 'a', offset: 4 })
    const onReload = vi.fn()
    const { handle, deltas } = use('project:1', { position, onReload })
    connection.of('project:1').confirm({ wasRecovering: true, recovered: true })
    connection.of('project:1').confirm({ wasRecovering: true, recovered: false })
    expect(onReload).toHaveBeenCalledOnce()
    expect(handle.state.value).toBe('lost')
    expect(connection.open.size).toBe(0)

    position.value = { epoch: 'b', offset: 1 }
    connection.of('project:1').publish(2, 'after')
    expect(deltas).toEqual(['after'])
  })

  it('is gone where it is refused, and stays so', () => {
    const onGone = vi.fn()
    const { handle } = use('project:1', { position: { epoch: 'a', offset: 4 }, onGone })
    connection.of('project:1').emit('unsubscribed', { code: 103 })
    expect(onGone).toHaveBeenCalledOnce()
    expect(handle.state.value).toBe('gone')
    expect(connection.open.size).toBe(0)
  })

  it('is not gone for another reason', () => {
    const onGone = vi.fn()
    const { handle } = use('project:1', { onGone })
    connection.of('project:1').emit('unsubscribed', { code: 106 })
    expect(onGone).not.toHaveBeenCalled()
    expect(handle.state.value).toBe('refused')
  })

  it('follows another channel when it changes, and none for null', () => {
    const channel = ref<string | null>('progress:1')
    const { handle } = use(channel, {})
    channel.value = 'progress:2'
    expect([...connection.open.keys()]).toEqual(['progress:2'])
    channel.value = null
    expect(connection.open.size).toBe(0)
    expect(handle.state.value).toBe('waiting')
  })

  it('lists each person once, in however many windows they are, until the last one closes', async () => {
    const { handle } = use('project:1', { presence: true })
    const client = (id: string, user: string, name: string): object => ({ client: id, user, connInfo: { name } })
    const subscription = connection.of('project:1')
    expect(subscription.options.joinLeave).toBe(true)
    subscription.clients = { a: client('a', '2', 'Zoe') as never, b: client('b', '1', 'Ann') as never }
    subscription.confirm()
    await nextTick()
    await nextTick()
    expect(handle.present.value).toEqual([
      { id: 1, name: 'Ann' },
      { id: 2, name: 'Zoe' },
    ])
    subscription.emit('join', { info: client('c', '2', 'Zoe') })
    subscription.emit('leave', { info: client('a', '2', 'Zoe') })
    expect(handle.present.value).toHaveLength(2)
    subscription.emit('leave', { info: client('c', '2', 'Zoe') })
    expect(handle.present.value).toEqual([{ id: 1, name: 'Ann' }])
  })

  it('stops with its scope', () => {
    use('project:1', {})
    scope.stop()
    expect(connection.open.size).toBe(0)
  })
})
