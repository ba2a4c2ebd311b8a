// SPDX-License-Identifier: Apache-2.0
import CProcessRestrictions
import Glibc
import MessageSockets
import SystemPackage

/// Uses a loop, then makes the kernel refuse its system call, like a process that sandboxes itself
/// after it has started. Does not run on the loop's thread, except for calls on sockets.
///
/// - Parameter refusingAll: Whether all io_uring calls are refused, and not only `io_uring_enter`.
func runUntilRefused(_ configuration: IOLoop.Configuration, refusingAll: Bool) async throws {
  let loop = try IOLoop(configuration)
  let socketsBefore = openSockets()
  let (peer, address) = try await useUntilRefused(loop, refusingAll)
  // Not counting the peer.
  print("sockets: \(openSockets() - socketsBefore - 1)")
  print("jobs: \(await loop.run { loop.isCurrent })")
  print("sleep: \(await code { try await loop.sleep(for: .seconds(30)) })")
  await loop.shutdown()
  let second = try IOLoop()
  print("second: \(second.driver.kind)")
  print("works: \(await code { try await passDescriptor(on: second) })")
  guard !refusingAll || configuration.driver == .epoll else { return }
  // The kernel holds nothing that belongs to the sockets.
  let rest = try UnixStream(adopting: OwnedFd(adopting: peer), on: second)
  print("end: \(try await rest.receiveMessage(deadline: .now + .seconds(10)) == nil)")
  while await code({ _ = try UnixListener<UnixStream>.bind(to: address, on: second) })
    == "addressInUse"
  { await Task.yield() }
  print("bound: true")
}

/// Returns the peer of a socket with operations in progress, and the address of a listener with an
/// accept in progress.
private func useUntilRefused(_ loop: IOLoop, _ refusingAll: Bool) async throws -> (
  FileDescriptor, UnixAddress
) {
  let (waiting, itsPeer) = try UnixStream.makePair(on: loop)
  let peer = try await itsPeer.release().release()
  let (ahead, aheadPeer) = try UnixSeqpacket.makePair(on: loop)
  let (full, _full) = try UnixStream.makePair(on: loop)
  let listener = try UnixListener<UnixStream>.bind(
    to: UnixAddress(abstract: "message-sockets-sandbox-\(getpid())"), on: loop)

  // One message is taken; one with a descriptor was received ahead, and stays.
  try await aheadPeer.sendMessage([1])
  try await aheadPeer.sendMessage(
    [2],
    descriptor: OwnedFd(adopting: .init(rawValue: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))))
  for try await _ in ahead.messages { break }

  let before = await loop.statistics.submissions
  let receiver = Task { await code { _ = try await waiting.receiveMessage() } }
  // More than fits, so the send stops half-way.
  let sender = Task {
    await code { try await full.sendMessage([UInt8](repeating: 0, count: 8 << 20)) }
  }
  let acceptor = Task { await code { _ = try await listener.accept() } }
  let sleeper = Task { await code { try await loop.sleep(for: .seconds(30)) } }
  // The fourth submission is the rest of the send.
  while await loop.statistics.submissions < before + 4 { await Task.yield() }

  let isRing = loop.driver.kind == .ioUring
  let status =
    !isRing
    ? cpr_refuse_epoll_waits(EPERM)
    : refusingAll ? cpr_refuse_io_uring(EPERM) : cpr_refuse_io_uring_enter(EPERM)
  if status != 0 { print("restriction: sandbox [\(status)]") }

  print("queued: \(await code { try await waiting.sendMessage([1]) })")
  print("receive: \(await receiver.value)")
  print("send: \(await sender.value)")
  print("accept: \(await acceptor.value)")
  print("sleeper: \(await sleeper.value)")
  do {
    _ = try await waiting.receiveMessage()
  } catch let error as SocketError {
    print("later: \(error.code)")
    print("errno: \(error.errno?.rawValue ?? 0)")
  }
  print(
    "ahead: \(await code { guard try await ahead.receiveMessage()?.payload == [2] || !isRing else { throw CancellationError() } })"
  )
  print("open: \(await code { try await waiting.setOption(.sendBufferSize, to: 4096) })")
  for socket in [waiting, full, _full] { await socket.close() }
  await ahead.close()
  await aheadPeer.close()
  await listener.close()
  return (peer, listener.address)
}

private func passDescriptor(on loop: IOLoop) async throws {
  let (left, right) = try UnixStream.makePair(on: loop)
  async let message = right.receiveMessage()
  try await left.sendMessage([1], descriptor: OwnedFd(adopting: .init(rawValue: dup(0))))
  _ = try await message
}

private func code(_ body: () async throws -> Void) async -> String {
  do {
    try await body()
    return "none"
  } catch { return (error as? SocketError)?.code.description ?? "\(error)" }
}
