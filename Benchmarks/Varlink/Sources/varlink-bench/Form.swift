// SPDX-License-Identifier: Apache-2.0
import Foundation
import MessageFraming
import MessageSockets
import SystemPackage
import Varlink

/// The form in which the call is made.
enum Form: String, CaseIterable {
  case plain = "plain pair"
  case framed = "framed, with a length"
  case zeroTerminated = "framed, with a NUL"
  case requests = "RequestChannel"
  case varlink = "Varlink"
  case json = "the JSON alone"

  /// The processor time of one call in nanoseconds. Everything happens on one thread that never
  /// waits, so on an idle machine this equals the elapsed time, and on a busy one it remains
  /// comparable.
  func measure(calls: Int) async throws -> Double {
    let (near, far) = try UnixStream.makePair()
    let start = Self.processorTime
    switch self {
    case .plain: try await plain(calls, near, far)
    case .framed: try await framed(calls, near, far, .lengthPrefixed())
    case .zeroTerminated: try await framed(calls, near, far, .zeroTerminated())
    case .requests: try await requests(calls, near, far)
    case .varlink: try await varlink(calls, near, far)
    case .json: try json(calls)
    }
    let time = Self.processorTime - start
    await near.close()
    await far.close()
    return time / Double(calls)
  }

  private static var processorTime: Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }

  private static let question = [UInt8](repeating: UInt8(ascii: "q"), count: 64)
  private static let answer = [UInt8](repeating: UInt8(ascii: "a"), count: 1024)
  private static let text = String(decoding: answer, as: UTF8.self)

  private static func openFile() throws -> OwnedFd {
    OwnedFd(adopting: try FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec))
  }

  private func plain(_ calls: Int, _ near: UnixStream, _ far: UnixStream) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        let file = try Self.openFile()
        while try await far.receiveMessage() != nil {
          try await far.sendMessage(Self.answer, descriptor: file)
        }
      }
      for _ in 0..<calls {
        try await near.sendMessage(Self.question)
        guard let reply = try await near.receiveMessage(), reply.takeDescriptor() != nil else {
          fatalError("no reply")
        }
      }
      await near.close()
      try await group.waitForAll()
    }
  }

  private func framed(_ calls: Int, _ near: UnixStream, _ far: UnixStream, _ format: FrameFormat)
    async throws
  {
    let (near, far) = (FramedChannel(near, format: format), FramedChannel(far, format: format))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        var files = OwnedFds()
        files.append(try Self.openFile())
        while try await far.receive() != nil {
          try await far.send(Self.answer, descriptors: files.span)
        }
      }
      for _ in 0..<calls {
        try await near.send(Self.question)
        guard let reply = try await near.receive(), reply.takeDescriptor() != nil else {
          fatalError("no reply")
        }
      }
      await near.close()
      try await group.waitForAll()
    }
  }

  private func requests(_ calls: Int, _ near: UnixStream, _ far: UnixStream) async throws {
    let file = try Self.openFile()
    let number = file.withUnsafeFileDescriptor { $0 }
    let service = RequestChannel(far) { _ in
      var files = OwnedFds()
      files.append(OwnedFd(adopting: try number.duplicate()))
      return Response(Self.answer, descriptors: files)
    }
    let client = RequestChannel(near)
    for _ in 0..<calls {
      let reply = try await client.request(Self.question)
      guard reply.takeDescriptor() != nil else { fatalError("no descriptor") }
    }
    await client.close()
    await service.close()
    withExtendedLifetime(file) {}
  }

  struct Question: Codable, Sendable { var path: String }
  struct Answer: Codable, Sendable {
    var file: Int
    var text: String
  }

  private func varlink(_ calls: Int, _ near: UnixStream, _ far: UnixStream) async throws {
    let file = try Self.openFile()
    let number = file.withUnsafeFileDescriptor { $0 }
    var bench = VarlinkInterface(
      "com.example.Bench",
      description:
        "interface com.example.Bench\nmethod Open(path: string) -> (file: int, text: string)")
    bench.method("Open") { (_: Question, call) in
      Answer(file: try call.push(OwnedFd(adopting: try number.duplicate())), text: Self.text)
    }
    var service = VarlinkService(
      vendor: "Example", product: "Bench", version: "1", url: "https://example.com")
    service.add(bench)
    try await withThrowingTaskGroup(of: Void.self) { [service] group in
      group.addTask { try await service.handle(far) }
      let client = VarlinkClient(near)
      for _ in 0..<calls {
        let reply = try await client.call(
          "com.example.Bench.Open", Question(path: "notes.txt"), returning: Answer.self)
        _ = try reply.takeDescriptor(at: reply.parameters.file)
      }
      await client.close()
      try await group.waitForAll()
    }
    withExtendedLifetime(file) {}
  }

  /// Encodes and decodes the JSON of `calls` calls and replies, without a socket.
  private func json(_ calls: Int) throws {
    for _ in 0..<calls {
      let question = try JSONEncoder().encode(Question(path: "notes.txt"))
      _ = try JSONDecoder().decode(Question.self, from: question)
      let answer = try JSONEncoder().encode(Answer(file: 0, text: Self.text))
      _ = try JSONDecoder().decode(Answer.self, from: answer)
    }
  }
}
