// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage

/// What the process does with its loop.
enum ProbeTask {
  case roundTrip
  /// Serves one connection of the listener that an activator has left as descriptor 3.
  case serve(kind: String)
  /// Accepts a connection.
  case accept
  /// Sends descriptors that nobody receives.
  case fillSocket
  /// Forbids itself what its loop needs, with operations of every kind under way.
  case enterSandbox(refusingAll: Bool)

  func run(_ configuration: IOLoop.Configuration) async throws {
    switch self {
    case .roundTrip: try await tellDriver(configuration)
    case .serve(let kind):
      let loop = try IOLoop(configuration)
      try await loop.run { try await serveActivated(kind) }
    case .accept:
      let loop = try IOLoop(configuration)
      try await loop.run { try await acceptWithFailures() }
    case .fillSocket:
      let loop = try IOLoop(configuration)
      try await loop.run { try await sendUntilRefused() }
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

// MARK: Socket activation

private func serveActivated(_ kind: String) async throws {
  // As sd_listen_fds(3) finds them: from 3 on, so many, and meant for this process.
  guard getenv("LISTEN_PID").map({ String(cString: $0) }) == "\(getpid())",
    getenv("LISTEN_FDS").map({ String(cString: $0) }) == "1"
  else {
    return print("activated: no")
  }
  let descriptor = OwnedFd(adopting: FileDescriptor(rawValue: 3))
  switch kind {
  case "stream": try await answerOne(try UnixListener<UnixStream>(adopting: descriptor))
  case "seqpacket": try await answerOne(try UnixListener<UnixSeqpacket>(adopting: descriptor))
  default:
    let listener = try TCPListener(adopting: descriptor)
    print("listener: \(listener.address)")
    let connection = try await listener.accept()
    try await connection.sendMessage(try await connection.receiveMessage()?.payload ?? [])
    await connection.close()
    await listener.close()
  }
}

private func answerOne<Socket: UnixConnection>(_ listener: UnixListener<Socket>) async throws {
  print("listener: \(listener.address)")
  let connection = try await listener.accept()
  if let message = try await connection.receiveMessage() {
    let descriptors = message.takeDescriptors()
    try await connection.sendMessage(message.payload, descriptors: descriptors.span)
  }
  await connection.close()
  await listener.close()
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
  // Meets the next failures, waits, and goes on.
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
  // Without descriptors it goes on.
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
