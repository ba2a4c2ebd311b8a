// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets

/// How the bytes of a connection are cut into frames, and how large a frame may be.
///
/// A format is a value without a socket: ``FramedChannel`` applies it to a connection.
/// `Docs/Wire.md` shows the bytes.
public struct FrameFormat: Sendable, Hashable {
  /// How the end of a frame is determined.
  package enum Boundary: Sendable {
    /// A NUL after the payload.
    case zero
    /// A header before the payload, which contains the payload's length.
    case length
  }

  package let boundary: Boundary

  /// How many bytes a payload may have, 1 to 1 GiB. The header, or the NUL, is not counted.
  ///
  /// A peer can make a channel hold at most this much memory, in addition to one receive of the
  /// socket (``IOLoop/Configuration/receiveBufferSize``).
  public let maximumSize: Int

  /// How many descriptors may come with a frame, 0 to 253.
  public let maximumDescriptors: Int

  private init(_ boundary: Boundary, _ maximumSize: Int, _ maximumDescriptors: Int) {
    precondition((1...1 << 30).contains(maximumSize), "A frame has room for 1 byte to 1 GiB")
    precondition(
      (0...ControlMessages.maximumDescriptors).contains(maximumDescriptors),
      "A frame carries 0 to 253 descriptors")
    self.boundary = boundary
    self.maximumSize = maximumSize
    self.maximumDescriptors = maximumDescriptors
  }

  /// Each payload is followed by a NUL, and contains none: text, as JSON. Varlink frames its
  /// messages in this way.
  ///
  /// - Precondition: `maximumSize` is 1 to 1 GiB, `maximumDescriptors` is 0 to 253.
  public static func zeroTerminated(
    maximumSize: Int = 1 << 20, maximumDescriptors: Int = 253
  ) -> FrameFormat {
    FrameFormat(.zero, maximumSize, maximumDescriptors)
  }

  /// Each payload follows a header of 8 bytes, or 16 for ``RequestChannel``, with its length and
  /// the number of its descriptors.
  ///
  /// - Precondition: `maximumSize` is 1 to 1 GiB, `maximumDescriptors` is 0 to 253.
  public static func lengthPrefixed(
    maximumSize: Int = 1 << 20, maximumDescriptors: Int = 253
  ) -> FrameFormat {
    FrameFormat(.length, maximumSize, maximumDescriptors)
  }
}
