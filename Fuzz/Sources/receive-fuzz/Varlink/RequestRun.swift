// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import MessageFraming
import MessageSockets
import SystemPackage

@testable import SocketEngine

/// One input: a request channel that asks and answers, with a hostile peer.
enum RequestRun {
  static func run(_ input: Input) {
    let loop = input.choose(Loops.all)
    let before = SimulatedFiles.open()
    Turnstile.wait(on: loop) { await converse(input, on: loop) }
    checkDescriptors(are: before)
  }

  private static func converse(_ input: Input, on loop: IOLoop) async {
    do {
      let (ours, theirs) = try UnixStream.makePair(on: loop)
      try await converse(input, ours, theirs)
      await ours.close()
    } catch {
      fatalError("\(error)")
    }
    while await loop.operationsInKernel > 0 { await Task.yield() }
  }

  private static func converse(_ input: Input, _ ours: UnixStream, _ theirs: UnixStream)
    async throws
  {
    var limits = RequestLimits(frameSize: 60, descriptorsPerFrame: 3)
    limits.unansweredRequests = 4
    limits.concurrentRequests = 2
    limits.abandonedRequests = 1
    let channel = RequestChannel(theirs, limits: limits) { request in
      if request.payload.isEmpty { throw RequestFailure(Array(repeating: 1, count: 60)) }
      await Task.yield()
      return Response(Array(request.payload), descriptors: request.takeDescriptors())
    }
    let requests = (0..<6).map { number in
      Task(executorPreference: theirs.loop.taskExecutor) {
        let reply = try await channel.request([UInt8(number)])
        check(reply.payload.count <= 60 && reply.descriptorCount <= 3, "a reply above the limits")
      }
    }
    let reading = Task(executorPreference: ours.loop.taskExecutor) {
      while let message = try await ours.receiveMessage() { _ = message }
    }
    while !input.isEmpty {
      if input.oneIn(8) { requests[input.number(0...5)].cancel() }
      if input.oneIn(30) { theirs.startDraining() }
      guard await sendFrame(input, to: ours) else { break }
    }
    try? await ours.shutdown(.sending)
    _ = try? await channel.untilEnded()
    for request in requests { _ = await request.result }
    _ = await reading.result
    await channel.close()
  }

  /// Sends a frame that is mostly correct, or arbitrary bytes; returns false if the channel has
  /// ended.
  private static func sendFrame(_ input: Input, to socket: UnixStream) async -> Bool {
    let count = input.oneIn(3) ? input.number(1...4) : 0
    let payload = input.take(input.number(0...20))
    let kind = input.choose([1, 1, 2, 0x81, 0x82, 0] as [UInt8])
    let number = UInt8(input.number(0...6))
    let announced = input.oneIn(20) ? 0 : UInt8(count)
    var bytes =
      [UInt8(payload.count), 0, 0, 0, kind, announced, 0, 0, number, 0, 0, 0, 0, 0, 0, 0] + payload
    if input.oneIn(20) { bytes = payload }
    if bytes.isEmpty { return true }
    var files = OwnedFds()
    for _ in 0..<count {
      guard let file = try? FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec)
      else { break }
      files.append(OwnedFd(adopting: file))
    }
    do { try await socket.sendMessage(bytes, descriptors: files.span) } catch { return false }
    return true
  }
}
