// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// The requests with outstanding replies, in order. Each reply is checked against the first of
/// them, so that a lost, duplicated or overtaken reply is noticed immediately.
struct ReplyLedger {
  private let root: FilePath
  private var outstanding: [Request] = []
  private(set) var nextNumber: UInt32 = 0

  init(root: FilePath) { self.root = root }

  var count: Int { outstanding.count }

  /// A new request for a file, not yet outstanding.
  mutating func makeRequest(for name: String) -> Request {
    defer { nextNumber += 1 }
    return Request(number: nextNumber, name: name)
  }

  /// Records that the request was sent.
  mutating func add(_ request: Request) { outstanding.append(request) }

  /// Checks the next reply: its descriptor must have the contents of the file.
  mutating func settle(_ message: ReceivedMessage) throws {
    let request = try settle(message, expecting: .opened)
    guard message.descriptorCount == 1, let received = message.takeDescriptor() else {
      throw Failure("\(request.name): \(message.descriptorCount) descriptors came instead of one")
    }
    let path = root.appending(request.name)
    let file = OwnedFd(adopting: try FileDescriptor.open(path, .readOnly, options: .closeOnExec))
    guard try received.hasSameBytes(as: file) else {
      throw Failure("\(request.name): the descriptor has other bytes than the file")
    }
  }

  /// Checks the next reply, which must have this status.
  @discardableResult
  mutating func settle(_ message: ReceivedMessage, expecting status: Status) throws -> Request {
    guard let reply = Reply(decoding: message.payload) else {
      throw Failure("a message that is no reply came")
    }
    guard let request = outstanding.first else {
      throw Failure("a reply came to no request: \(reply)")
    }
    guard reply.request == request else {
      throw Failure("the reply to \(request) was due, and \(reply) came")
    }
    guard reply.status == status else { throw Failure("\(request.name): \(reply.status)") }
    outstanding.removeFirst()
    return request
  }
}
