// SPDX-License-Identifier: Apache-2.0
import MessageSockets

// Never run; see Sockets.swift.

private func loops() async throws {
  var configuration = IOLoop.Configuration()
  configuration.name = "app"
  configuration.driver = .automatic
  configuration.ringEntries = 64
  configuration.receiveBufferSize = 4096
  configuration.receiveBuffers = 16
  let loop = try IOLoop(configuration)
  let _: Int = await loop.run { 1 }
  let _: (any SerialExecutor, any TaskExecutor, Bool) = (
    loop.serialExecutor, loop.taskExecutor, loop.isCurrent
  )
  try await loop.sleep(for: .milliseconds(1))
  let driver: IOLoop.Driver = loop.driver
  _ = (
    driver.kind == .ioUring, driver.kind == .epoll, driver.reason.code == .probed,
    driver.reason.errno, driver.reason.detail,
    "\(driver)"
  )
  let statistics: IOLoop.Statistics = await loop.statistics
  _ = (statistics.enters, statistics.hops, statistics.messagesSent, statistics.descriptorsReceived)
  let _: IOLoop? = IOLoop.current
  let _: IOLoop = try .currentOrShared()
  await loop.shutdown()

  let group = try IOLoopGroup(count: IOLoopGroup.defaultCount, configuration: configuration)
  _ = (group.loops, group.next(), try IOLoopGroup.shared())
  await group.shutdown()
}

private func errors(_ error: SocketError) {
  let _: (Errno?, AnySocketAddress?, Int, String?) = (
    error.errno, error.address, error.bytesSent, error.detail
  )
  switch error.code {
  case .addressInUse, .addressNotAvailable, .badDescriptor, .cannotPassRing, .closed,
    .connectionRefused, .connectionReset,
    .deadlineExceeded,
    .emptyPayload, .hostUnreachable, .invalidConfiguration, .ioUringUnavailable, .loopFailed,
    .loopShutDown, .messageTooLarge,
    .messagesUnread,
    .notConnected,
    .notFound, .notPermitted, .notSupported, .outOfDescriptors, .outOfMemory, .outOfThreads,
    .partialSend, .peerClosed, .system, .timedOut,
    .tooManyDescriptors, .tooManyInFlight, .wouldBlock, .wrongSocketKind:
    _ = error.operation.rawValue
  default: _ = "\(error)"
  }
}
