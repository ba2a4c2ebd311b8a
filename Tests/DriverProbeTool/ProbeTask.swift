// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import MessageSockets
import SystemPackage

/// The task of the process after it has made its loop.
enum ProbeTask {
  case roundTrip
  /// Listens at an abstract address, with one rule after the other, until each rule has refused a
  /// peer.
  case refusePeers(of: String)
  /// Closes descriptors while no thread can be started, and again when one can.
  case closeWithoutThreads
  /// Accepts a connection.
  case accept
  /// Sends descriptors that no process receives.
  case fillSocket
  /// Makes its first loop during a shortage, and the second one after it. The shortage is one of
  /// descriptors, of which `freeNumbers` are left; if that is nil, of descriptors in unread
  /// messages.
  case shortage(freeNumbers: UInt64?)
  /// Receives the last bytes of peers that then leave, and the end.
  case streamEnd
  /// Waits for room in connections that are shut down meanwhile.
  case sendEnd
  /// Sends messages over vsock to itself.
  case vsock
  /// Prints a vsock port, and returns the messages that come there.
  case vsockEcho(isStream: Bool)
  /// Forbids itself the system calls that its loop needs, while operations of every kind are in
  /// progress.
  case enterSandbox(refusingAll: Bool)

  func run(_ configuration: IOLoop.Configuration) async throws {
    switch self {
    case .roundTrip: try await tellDriver(configuration)
    case .refusePeers(let name):
      let loop = try IOLoop(configuration)
      try await loop.run { try await refuseOnePeerByEachRule(name) }
    case .closeWithoutThreads:
      let loop = try IOLoop(configuration)
      try await loop.run { try await keepClosingWithoutThreads() }
    case .accept:
      let loop = try IOLoop(configuration)
      try await loop.run { try await acceptWithFailures() }
    case .fillSocket:
      let loop = try IOLoop(configuration)
      try await loop.run { try await sendUntilRefused() }
    case .shortage(let free): try await outlastShortage(configuration, free)
    case .streamEnd:
      let loop = try IOLoop(configuration)
      try await loop.run { try await countEnds() }
    case .sendEnd:
      let loop = try IOLoop(configuration)
      try await loop.run { try await countEndedSends() }
    case .vsock:
      let loop = try IOLoop(configuration)
      try await loop.run { try await sendOverVsock() }
    case .vsockEcho(let isStream):
      let loop = try IOLoop(configuration)
      try await loop.run {
        isStream
          ? try await echoOverVsock(VsockStream.self)
          : try await echoOverVsock(VsockSeqpacket.self)
      }
    case .enterSandbox(let refusingAll):
      try await runUntilRefused(configuration, refusingAll: refusingAll)
    }
  }
}

// MARK: The driver

private func tellDriver(_ configuration: IOLoop.Configuration) async throws {
  let socketsBefore = openSockets()
  let loop = try IOLoop(configuration)
  print("kind: \(loop.driver.kind)")
  print("code: \(loop.driver.reason.code)")
  print("driver: \(loop.driver)")
  print("sockets: \(openSockets() - socketsBefore)")
  let second = try IOLoop(configuration)
  print("second: \(second.driver.kind)")
  try await loop.run {
    let (left, right) = try UnixStream.makePair()
    async let message = right.receiveMessage()
    try await left.sendMessage([1], descriptor: OwnedFd(adopting: .init(rawValue: dup(0))))
    print("received: \(try await message?.descriptorCount ?? -1)")
  }
}

func openSockets() -> Int {
  var count = 0
  for number in 0..<Int32(256) {
    var target = [UInt8](repeating: 0, count: 64)
    let length = readlink("/proc/self/fd/\(number)", &target, target.count)
    if length > 0, String(decoding: target[..<length], as: UTF8.self).hasPrefix("socket:") {
      count += 1
    }
  }
  return count
}

// MARK: Peers

private func refuseOnePeerByEachRule(_ name: String) async throws {
  let overflow: UInt32 = 65534
  let rules: [(String, Authorization)] = [
    ("same user", .sameUser), ("users", .users([overflow, 12345])),
    ("custom", .custom { $0.userID == overflow || $0.isMember(of: overflow) }),
  ]
  for (text, rule) in rules {
    let (refusals, refused) = AsyncStream.makeStream(of: String.self)
    let listener = try UnixListener<UnixStream>.bind(
      to: UnixAddress(abstract: name), authorization: rule.reporting { refused.yield("\($0)") })
    let accepting = Task { _ = try await listener.accept() }
    print(text)
    fflush(nil)
    for await refusal in refusals {
      print(refusal)
      fflush(nil)
      break
    }
    accepting.cancel()
    _ = await accepting.result
    await listener.close()
  }
}

// MARK: Closing

private func keepClosingWithoutThreads() async throws {
  var before = rlimit()
  getrlimit(__rlimit_resource_t(cpr_threads_resource()), &before)
  var none = before
  none.rlim_cur = 1
  setrlimit(__rlimit_resource_t(cpr_threads_resource()), &none)
  let (left, right) = try UnixSeqpacket.makePair()
  try await right.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 0))
  try? await right.setOption(.passDescriptors, to: true)
  var ends: [Int32] = [-1, -1]
  pipe(&ends)
  func isClosed(waiting milliseconds: Int32) -> Bool {
    var wanted = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
    return poll(&wanted, 1, milliseconds) == 1
  }
  do {
    try await left.sendMessage(
      [1], descriptor: OwnedFd(adopting: FileDescriptor(rawValue: ends[1])))
  }
  print("refused: \(try await right.receiveMessage()?.outcome.surplus ?? -1)")
  for byte in 0..<100 as Range<UInt8> {
    try await left.sendMessage([byte])
    guard try await right.receiveMessage()?.payload == [byte] else { return }
  }
  print("loop: goes on")
  print("closed without threads: \(isClosed(waiting: 0))")
  setrlimit(__rlimit_resource_t(cpr_threads_resource()), &before)
  // Nothing else happens, so the loop itself must ask again.
  for _ in 0..<500 where !isClosed(waiting: 0) {
    try await IOLoop.current!.sleep(for: .milliseconds(20))
  }
  print("closed with threads: \(isClosed(waiting: 0))")
}

// MARK: Exhaustion

private func acceptWithFailures() async throws {
  let listener = try UnixListener<UnixStream>.bind(
    to: UnixAddress(abstract: "message-sockets-probe-\(getpid())"))
  let client = try await UnixStream.connect(to: listener.address)
  do {
    _ = try await listener.accept()
  } catch let error as SocketError {
    print("refused: \(error.code)")
    print("errno: \(error.errno?.rawValue ?? 0)")
  }
  // This meets the next failures, waits, and continues.
  var connections = listener.connections.makeAsyncIterator()
  let connection = try await connections.next()
  try await client.sendMessage([7])
  print("served: \(try await connection?.receiveMessage()?.payload == [7])")
}

private func sendUntilRefused() async throws {
  let (left, right) = try UnixSeqpacket.makePair()
  var files = OwnedFds()
  for _ in 0..<16 {
    files.append(OwnedFd(adopting: FileDescriptor(rawValue: fcntl(0, F_DUPFD_CLOEXEC, 3))))
  }
  var sent = 0
  do {
    // More than any limit that the tests set.
    while sent < 100 {
      try await left.sendMessage([UInt8(sent)], descriptors: files.span)
      sent += 1
    }
  } catch let error as SocketError {
    print("refused: \(error.code)")
    print("errno: \(error.errno?.rawValue ?? 0)")
  }
  print("sent: \(sent)")
  // Messages without descriptors can still be sent.
  try await left.sendMessage([100])
  var whole = 0
  for number in 0..<sent {
    let message = try await right.receiveMessage()
    if message?.payload == [UInt8(number)], message?.descriptorCount == 16,
      message?.outcome == .complete
    {
      whole += 1
    }
  }
  print("whole: \(whole)")
  print("plain: \(try await right.receiveMessage()?.payload == [100])")
  try await left.sendMessage([101], descriptors: files.span)
  print("recovered: \(try await right.receiveMessage()?.descriptorCount == 16)")
}

// MARK: Shortages that pass

private func outlastShortage(_ configuration: IOLoop.Configuration, _ freeNumbers: UInt64?)
  async throws
{
  if let freeNumbers {
    print("limited: \(cpr_limit_descriptors_for_now(numbers(withFree: freeNumbers)))")
    tellFirst(configuration)
    print("raised: \(cpr_limit_descriptors_for_now(0))")
  } else {
    let held = try fillMessages()
    tellFirst(configuration)
    _ = consume held
  }
  try await tellDriver(configuration)
}

/// The descriptor limit for which `free` numbers are free. More than 0 to 2 may be open, because a
/// program inherits the descriptors that its parent left open.
private func numbers(withFree free: UInt64) -> UInt64 {
  var free = free
  var count: UInt64 = 0
  while true {
    let isOpen = fcntl(Int32(count), F_GETFD) >= 0
    if !isOpen && free == 0 { return count }
    if !isOpen { free -= 1 }
    count += 1
  }
}

private func tellFirst(_ configuration: IOLoop.Configuration) {
  do {
    let driver = try IOLoop(configuration).driver
    print("first: \(driver.kind)")
    print("reason: \(driver.reason.code)")
  } catch { print("first: \(error.code)") }
}

private func sendsOne(_ sender: borrowing OwnedFd, _ descriptor: borrowing OwnedFd) -> Bool {
  (try? sender.sendMessage([1], descriptor: descriptor)) != nil
}

/// Sends descriptors that are not received, until no more may be in flight: as many as
/// `RLIMIT_NOFILE`. They stay in flight until the result is dropped.
private func fillMessages() throws -> OwnedFd {
  var numbers: [Int32] = [0, 0]
  guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &numbers) == 0 else {
    throw Errno(rawValue: errno)
  }
  let sender = OwnedFd(adopting: FileDescriptor(rawValue: numbers[0]))
  let receiver = OwnedFd(adopting: FileDescriptor(rawValue: numbers[1]))
  let input = OwnedFd(adopting: FileDescriptor(rawValue: dup(0)))
  while sendsOne(sender, input) {}
  // The sender may close; its messages stay in the queue.
  return receiver
}

// MARK: The end of a stream

/// The peer sends a byte and closes or shuts down before the loop looks: 20 times each, received
/// ahead and on demand.
private func countEnds() async throws {
  var ended = 0
  for _ in 0..<20 {
    for isShutdown in [false, true] {
      for isAhead in [false, true] {
        let (left, right) = try UnixStream.makePair()
        let receiving = Task(executorPreference: right.loop.taskExecutor) {
          var count = 0
          if isAhead {
            for try await message in right.messages { count += message.payload.count }
          } else {
            while let message = try await right.receiveMessage() { count += message.payload.count }
          }
          return count
        }
        // The receive waits in the kernel by now.
        for _ in 0..<10 { _ = await right.loop.statistics }
        let number = try await left.release().release().rawValue
        _ = send(number, [1] as [UInt8], 1, 0)
        if isShutdown { shutdown(number, Int32(SHUT_WR)) }
        close(number)
        if try await receiving.value == 1 { ended += 1 }
        await right.close()
      }
    }
  }
  print("ended: \(ended)")
}

private func countEndedSends() async throws {
  var ended = 0
  for isOwnShutdown in [true, false] {
    let (left, right) = try UnixStream.makePair()
    let sending = Task(executorPreference: left.loop.taskExecutor) {
      try await left.sendMessage([UInt8](repeating: 1, count: 8 << 20))
    }
    // The send waits for room by now.
    for _ in 0..<100 { _ = await left.loop.statistics }
    if isOwnShutdown {
      try await left.shutdown(.sending)
    } else {
      try await right.shutdown(.receiving)
    }
    do { try await sending.value } catch let error as SocketError where error.code == .peerClosed {
      ended += 1
    }
    await left.close()
    await right.close()
  }
  print("ended: \(ended)")
}
