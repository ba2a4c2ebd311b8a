// SPDX-License-Identifier: Apache-2.0
/// Checks what one end receives, as the baselines do: length, first and last byte, number of
/// descriptors.
public struct Inbox: Sendable {
  /// The byte that every payload consists of.
  public static let pattern: UInt8 = 0x5a

  private let fds: Int
  private let bytes: Int
  private let isStream: Bool
  /// What a stream has delivered of a message so far.
  public private(set) var partial = 0

  public init(_ options: Options) {
    fds = options.fds
    bytes = options.bytes
    isStream = options.kind == .stream
  }

  /// How many bytes the next receive may bring, so that a stream does not deliver several messages
  /// in one.
  public var room: Int { bytes - partial }

  /// Takes note of one receive. Returns how many messages it completed.
  ///
  /// Never inlined: a task keeps the frames of its asynchronous functions as long as it waits.
  @inline(never)
  public mutating func take(_ payload: Span<UInt8>, descriptors: Int, isTruncated: Bool) throws
    -> Int
  {
    guard !isTruncated else { throw Failure("a truncated message") }
    guard payload.count > 0 else { throw Failure("the peer closed, or an empty message arrived") }
    guard payload[0] == Self.pattern, payload[payload.count - 1] == Self.pattern else {
      throw Failure("a received payload has the wrong bytes")
    }
    // Descriptors come with the first byte of their own send, so count the messages that begin in
    // this receive.
    let reach = partial + payload.count
    let begun = (reach + bytes - 1) / bytes - (partial > 0 ? 1 : 0)
    guard descriptors == begun * fds else {
      throw Failure("\(descriptors) descriptors arrived instead of \(begun * fds)")
    }
    guard isStream || reach == bytes else {
      throw Failure("\(reach) bytes arrived instead of \(bytes)")
    }
    partial = reach % bytes
    return reach / bytes
  }
}
