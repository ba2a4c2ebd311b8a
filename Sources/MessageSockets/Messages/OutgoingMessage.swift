// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import SocketEngine
internal import SystemPackage

/// A message that is put together step by step, for those who prefer it to one call with all parts.
/// ```swift
/// var message = OutgoingMessage(Array("two files".utf8))
/// message.append(first)
/// message.append(second)
/// message.options = .endOfRecord
/// try await socket.sendMessage(message)
/// ```
/// It owns its descriptors, and closes them when it ends; it can be sent several times.
public struct OutgoingMessage: ~Copyable, Sendable {
  /// The bytes.
  public var payload: [UInt8]
  /// The descriptors, 253 at most.
  public var descriptors = OwnedFds()
  /// Control messages of other kinds, encoded.
  public var control = ControlMessageBuffer()
  /// Flags of the send.
  public var options: SendOptions = []

  public init(_ payload: [UInt8] = []) { self.payload = payload }

  /// Adds bytes behind the others.
  public mutating func append(_ bytes: [UInt8]) { payload += bytes }

  /// Adds a descriptor behind the others, and takes it over.
  public mutating func append(_ descriptor: consuming OwnedFd) { descriptors.append(descriptor) }

  /// Adds a control message.
  public mutating func append(_ message: some EncodableControlMessage) { control.append(message) }
}

extension MessageSocket {
  /// Sends a message that was put together before, which stays as it is; see
  /// ``sendMessage(_:control:options:)``.
  ///
  /// - Throws: also ``SocketError``: `notSupported` if it has descriptors, and this is no
  ///   ``UnixSocket``.
  public nonisolated func sendMessage(_ message: borrowing OutgoingMessage) async throws {
    try message.requireNoDescriptors()
    try await sendMessage(message.payload, control: message.control, options: message.options)
  }
}

extension DatagramSocket {
  /// The same to an address; see ``sendMessage(_:to:control:options:)``.
  public nonisolated func sendMessage(_ message: borrowing OutgoingMessage, to address: Address)
    async throws
  {
    try message.requireNoDescriptors()
    try await sendMessage(
      message.payload, to: address, control: message.control, options: message.options)
  }
}

extension UnixDatagram {
  /// Sends a message that was put together before to an address; see
  /// ``sendMessage(_:descriptors:to:control:options:)``.
  public nonisolated func sendMessage(_ message: borrowing OutgoingMessage, to address: UnixAddress)
    async throws
  {
    try await sendMessage(
      message.payload, descriptors: message.descriptors.span, to: address, control: message.control,
      options: message.options)
  }
}

extension OutgoingMessage {
  fileprivate func requireNoDescriptors() throws(SocketError) {
    guard descriptors.isEmpty else {
      throw SocketError(.notSupported, .send, detail: "only Unix sockets carry descriptors")
    }
  }
}

extension UnixSocket {
  /// Sends a message that was put together before, which stays as it is; see
  /// ``sendMessage(_:descriptors:control:options:)``.
  public nonisolated func sendMessage(_ message: borrowing OutgoingMessage) async throws {
    try await sendMessage(
      message.payload, descriptors: message.descriptors.span, control: message.control,
      options: message.options)
  }
}
