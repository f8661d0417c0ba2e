import { describe, expect, it, vi } from 'vitest'

import { Channels, type Follower } from './channels'
import { FakeConnection } from './fake'

function follower(position?: { epoch: string; offset: number }): Follower & { got: unknown[] } {
  const got: unknown[] = []
  return {
    got,
    position,
    presence: false,
    publication: ({ data }) => got.push(data),
    lost: vi.fn(),
    refused: vi.fn(),
  }
}
function setUp(): { channels: Channels; connection: FakeConnection } {
  const channels = new Channels()
  const connection = new FakeConnection()
  channels.attach(connection.asConnection())
  return { channels, connection }
}
const at = (offset: number, epoch = 'a'): { epoch: string; offset: number } => ({ epoch, offset })

describe('Channels', () => {
  it('subscribes from the position of the snapshot', () => {
    const { channels, connection } = setUp()
    channels.follow('project:1', follower(at(7)))
    expect(connection.of('project:1').options).toMatchObject({ since: at(7), positioned: true, recoverable: true })
  })

  it('asks for no position where there is none, as in conflated channels', () => {
    const { channels, connection } = setUp()
    channels.follow('progress:1', follower())
    expect(connection.of('progress:1').options).not.toHaveProperty('since')
    expect(connection.of('progress:1').options).not.toHaveProperty('positioned')
  })

  it('waits for a connection, then subscribes to all that is followed', () => {
    const channels = new Channels()
    const connection = new FakeConnection()
    channels.follow('project:1', follower(at(7)))
    channels.follow('project:2', follower(at(2)))()
    channels.attach(connection.asConnection())
    expect([...connection.open.keys()]).toEqual(['project:1'])
  })

  it('shares one subscription, and gives each what is behind its own snapshot', () => {
    const { channels, connection } = setUp()
    const older = follower(at(5))
    const newer = follower(at(6))
    channels.follow('project:1', older)
    channels.follow('project:1', newer)
    const subscription = connection.of('project:1')
    subscription.publish(6, 'six')
    subscription.publish(7, 'seven')
    expect(older.got).toEqual(['six', 'seven'])
    expect(newer.got).toEqual(['seven'])
    expect(connection.made).toHaveLength(1)
  })

  it('begins again for one with an older snapshot, and gives nothing twice', () => {
    const { channels, connection } = setUp()
    const first = follower(at(5))
    channels.follow('project:1', first)
    connection.of('project:1').publish(6, 'six')
    const second = follower(at(5))
    channels.follow('project:1', second)
    const again = connection.of('project:1')
    expect(again.options.since).toEqual(at(5))
    again.publish(6, 'six')
    again.publish(7, 'seven')
    expect(first.got).toEqual(['six', 'seven'])
    expect(second.got).toEqual(['six', 'seven'])
  })

  it('lets those of another epoch read their state anew', () => {
    const { channels, connection } = setUp()
    const old = follower(at(900, 'a'))
    channels.follow('project:1', old)
    const fresh = follower(at(3, 'b'))
    channels.follow('project:1', fresh)
    expect(old.lost).toHaveBeenCalledOnce()
    connection.of('project:1').publish(4, 'four')
    expect(fresh.got).toEqual(['four'])
    expect(old.got).toEqual([])
  })

  it('ends when the last one goes', () => {
    const { channels, connection } = setUp()
    const stop = channels.follow('project:1', follower(at(5)))
    const stopOther = channels.follow('project:1', follower(at(5)))
    stop()
    stop()
    expect(connection.open.has('project:1')).toBe(true)
    stopOther()
    expect(connection.open.has('project:1')).toBe(false)
    expect(connection.made[0]!.subscribed).toBe(false)
  })

  it('tells of what is lost after having ended, so that one may follow again at once', () => {
    const { channels, connection } = setUp()
    const again = follower(at(50))
    const first = follower(at(5))
    first.lost = () => channels.follow('project:1', again)
    channels.follow('project:1', first)
    connection.of('project:1').confirm({ wasRecovering: true, recovered: false })
    expect(connection.made).toHaveLength(2)
    expect(connection.of('project:1').options.since).toEqual(at(50))
  })

  it('gives signals, which have no offset, to all', () => {
    const { channels, connection } = setUp()
    const one = follower(at(5))
    channels.follow('chat:1', one)
    connection.of('chat:1').publish(undefined, 'typing', { signal: 'true' })
    expect(one.got).toEqual(['typing'])
  })
})
