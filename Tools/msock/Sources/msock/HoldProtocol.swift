// SPDX-License-Identifier: Apache-2.0
import CMsock
import Foundation
import MessageSockets

/// The request of a holder's client: one seqpacket message of JSON, with the descriptors.
struct HoldRequest: Codable {
  enum Operation: String, Codable {
    case store, list, take
    /// The requested descriptors have arrived.
    case taken
    /// They have arrived, and the client now becomes a program, which closes the connection: its
    /// end reports that this has succeeded.
    case becoming
    /// The client could not become the program: the holder must keep them.
    case keep
  }

  let operation: Operation
  var name: String?

  /// Whether the name follows systemd's rules for LISTEN_FDNAMES, where it will be used.
  static func isName(_ text: String) -> Bool {
    1...255 ~= text.utf8.count
      && text.utf8.allSatisfy { 0x20...0x7E ~= $0 && $0 != UInt8(ascii: ":") }
  }
}

/// A holder's answer, with the descriptors that are taken.
struct HoldReply: Codable {
  struct Entry: Codable {
    let name: String
    var descriptors: [Description]
  }

  var error: String?
  var entries: [Entry]?
  /// Whether the next message has further entries, because the size of a message is limited. It may
  /// continue an entry.
  var isContinued: Bool?
}

struct HoldClient {
  private let socket: UnixSeqpacket

  init(_ address: String, on loop: IOLoop) async throws {
    do {
      socket = try await UnixSeqpacket.connect(to: try UnixAddress(argument: address), on: loop)
    } catch let error as SocketError where error.code == .wrongSocketKind {
      throw Self.isNone
    }
  }

  private static var isNone: Failure {
    Failure(.notAdmitted, "what listens there is no holder (msock hold ADDRESS starts one)")
  }

  struct Answer {
    let reply: HoldReply
    /// The message that brought the descriptors.
    let descriptors: ReceivedMessage
  }

  func ask(_ request: HoldRequest, descriptors: borrowing OwnedFds) async throws -> Answer {
    try await socket.sendMessage(
      Array(try JSONEncoder().encode(request)), descriptors: descriptors.span)
    return try await answer()
  }

  /// All entries.
  func list() async throws -> [HoldReply.Entry] {
    var reply = try await ask(HoldRequest(operation: .list), descriptors: OwnedFds()).reply
    var entries: [HoldReply.Entry] = []
    while true {
      for entry in reply.entries ?? [] {
        if entry.name == entries.last?.name {
          entries[entries.count - 1].descriptors += entry.descriptors
        } else {
          entries.append(entry)
        }
      }
      guard reply.isContinued == true else { return entries }
      reply = try await answer().reply
    }
  }

  private func answer() async throws -> Answer {
    guard let message = try await socket.receiveMessage() else {
      throw Failure(
        .unavailable, "the holder has closed the connection; it admits its own user only")
    }
    guard let reply = try? JSONDecoder().decode(HoldReply.self, from: Data(message.payload)) else {
      throw Self.isNone
    }
    if let error = reply.error { throw Failure(.no, error) }
    return Answer(reply: reply, descriptors: message)
  }

  /// The descriptors held under the name. The holder keeps them until it is notified.
  func take(_ name: String) async throws -> OwnedFds {
    let answer = try await ask(HoldRequest(operation: .take, name: name), descriptors: OwnedFds())
    guard answer.descriptors.descriptorCount > 0 else { throw Self.isNone }
    return answer.descriptors.takeDescriptors()
  }

  /// Confirms that the requested descriptors have arrived.
  func acknowledge() async throws {
    try await socket.sendMessage(Array(try JSONEncoder().encode(HoldRequest(operation: .taken))))
  }

  /// Releases the connection, to be used without a loop: ``say(_:on:)``.
  func release() async throws -> OwnedFd { try await socket.release() }

  /// Sends a request without a loop, and does not wait for an answer.
  static func say(_ operation: HoldRequest.Operation, on socket: borrowing OwnedFd) throws {
    let message = try JSONEncoder().encode(HoldRequest(operation: operation))
    let result = socket.withUnsafeFileDescriptor { socket in
      // SAFETY: the bytes outlive the call.
      unsafe message.withUnsafeBytes { bytes in
        unsafe msock_send(socket.rawValue, bytes.baseAddress, bytes.count)
      }
    }
    guard result >= 0 else { throw Failure(.unavailable, "the holder has gone") }
  }

  func close() async { await socket.close() }
}
