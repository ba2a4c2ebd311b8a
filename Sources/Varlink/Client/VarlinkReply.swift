// SPDX-License-Identifier: Apache-2.0
internal import MessageFraming
public import MessageSockets

/// One reply of a service: its parameters, and the descriptors that came with it.
public struct VarlinkReply<Parameters: Sendable>: Sendable {
  /// The parameters that the service has answered with.
  public let parameters: Parameters

  private let frame: Frame

  init(parameters: Parameters, frame: Frame) {
    self.parameters = parameters
    self.frame = frame
  }

  /// How many descriptors came with the reply, taken or not.
  public var descriptorCount: Int { frame.descriptorCount }

  /// Gives away the descriptor with this index, as it stands in the parameters. Those that are not
  /// taken close with the reply.
  ///
  /// - Throws: `FramingError`: `noSuchDescriptor`, `descriptorTaken`.
  public func takeDescriptor(at index: Int) throws -> OwnedFd {
    try frame.takeDescriptor(at: index)
  }
}

/// A reply as it arrived, not yet decoded.
struct RawReply: Sendable {
  let frame: Frame
  let message: ReplyMessage

  /// - Throws: ``VarlinkError`` if the service answered with an error; ``VarlinkFailure``:
  ///   `unexpectedParameters`.
  func decode<P: Decodable & Sendable>(as type: P.Type) throws -> VarlinkReply<P> {
    try throwError()
    return VarlinkReply(
      parameters: try JSON.decodeReply(type, from: message.parameters), frame: frame)
  }

  /// The parameters as text.
  func text() throws -> VarlinkReply<String> {
    try throwError()
    return VarlinkReply(
      parameters: String(decoding: message.parameters, as: UTF8.self), frame: frame)
  }

  private func throwError() throws {
    guard let name = message.errorName else { return }
    throw VarlinkError(name: name, json: String(decoding: message.parameters, as: UTF8.self))
  }
}
