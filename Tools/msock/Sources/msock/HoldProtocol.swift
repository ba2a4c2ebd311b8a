// SPDX-License-Identifier: Apache-2.0
import CMsock
import Foundation
import MessageSockets

/// What a client of a holder asks: one seqpacket message of JSON, the descriptors with it.
struct HoldRequest: Codable {
  enum Operation: String, Codable {
    case store, list, take
    /// What was asked for has arrived.
    case taken
    /// It has arrived, and the client becomes a program now, which closes the connection: that it
    /// ends says that this has succeeded.
    case becoming
    /// The client could not become the program: the holder is to keep it.
    case keep
  }

  let operation: Operation
  var name: String?

  /// As systemd has it for LISTEN_FDNAMES, where the name goes.
  static func isName(_ text: String) -> Bool {
    1...255 ~= text.utf8.count
      && text.utf8.allSatisfy { 0x20...0x7E ~= $0 && $0 != UInt8(ascii: ":") }
  }
}

/// What a holder answers, with the descriptors that are taken.
struct HoldReply: Codable {
  struct Entry: Codable {
    let name: String
    var descriptors: [Description]
  }

  var error: String?
  var entries: [Entry]?
  /// Whether the next message has further entries: a message has a limit. An entry may be continued
  /// in it.
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
    /// The message that has brought the descriptors.
    let descriptors: ReceivedMessage
  }

  func ask(_ request: HoldRequest, descriptors: borrowing OwnedFds) async throws -> Answer {
    try await socket.sendMessage(
      Array(try JSONEncoder().encode(request)), descriptors: descriptors.span)
    return try await answer()
  }

  /// All that is held.
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

  /// What is held under the name. The holder keeps it until it is told more.
  func take(_ name: String) async throws -> OwnedFds {
    let answer = try await ask(HoldRequest(operation: .take, name: name), descriptors: OwnedFds())
    guard answer.descriptors.descriptorCount > 0 else { throw Self.isNone }
    return answer.descriptors.takeDescriptors()
  }

  /// Tells that what was asked for has arrived.
  func acknowledge() async throws {
    try await socket.sendMessage(Array(try JSONEncoder().encode(HoldRequest(operation: .taken))))
  }

  /// The connection, to be used without a loop: ``say(_:on:)``.
  func release() async throws -> OwnedFd { try await socket.release() }

  /// Says something without a loop. Its answer is not waited for.
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
