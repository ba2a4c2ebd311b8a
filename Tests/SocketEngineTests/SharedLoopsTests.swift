// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SocketEngine

/// The process's loops are configured once, before they are first used.
@Suite struct SharedLoopsTests {
  private func configuration(_ size: Int) -> IOLoop.Configuration {
    var configuration = IOLoop.Configuration()
    configuration.receiveBufferSize = size
    return configuration
  }

  private func failure(_ body: () throws(SocketError) -> Void) -> SocketError? {
    do throws(SocketError) {
      try body()
      return nil
    } catch { return error }
  }

  @Test func theyStartAsConfigured() async throws {
    let loops = SharedLoops()
    try loops.configure(count: 3, configuration(777))
    let group = try loops.group()
    #expect(group.loops.count == 3)
    #expect(group.loops.allSatisfy { $0.core.configuration.receiveBufferSize == 777 })
    #expect(try loops.group() === group)
    let error = failure { () throws(SocketError) in try loops.configure(count: 1, configuration(1))
    }
    #expect(error?.code == .invalidConfiguration)
    #expect(error?.detail == "the shared loops have started")
    await group.shutdown()
  }

  @Test func onceOnly() async throws {
    let loops = SharedLoops()
    try loops.configure(count: 1, configuration(777))
    let error = failure { () throws(SocketError) in try loops.configure(count: 2, configuration(1))
    }
    #expect(error?.detail == "the shared loops were configured before")
    let group = try loops.group()
    #expect(group.loops.map { $0.core.configuration.receiveBufferSize } == [777])
    await group.shutdown()
  }

  /// An invalid configuration changes nothing.
  @Test func whatIsOutOfRangeIsThrownThere() async throws {
    let loops = SharedLoops()
    #expect(
      failure { () throws(SocketError) in try loops.configure(count: 0, configuration(1)) }?.code
        == .invalidConfiguration)
    #expect(
      failure { () throws(SocketError) in try loops.configure(count: 1, configuration(0)) }?.code
        == .invalidConfiguration)
    try loops.configure(count: 1, configuration(5))
    let group = try loops.group()
    #expect(group.loops.count == 1)
    await group.shutdown()
  }
}
