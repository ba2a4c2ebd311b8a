// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// An error in encoding, decoding, sending or receiving control messages or addresses.
///
/// A struct with an open ``Code`` rather than an enum, so that a later version can add causes
/// without breaking a `switch`. Compare ``code``; the other fields say by how much.
public struct AncillaryError: Error, Hashable, Sendable {
  /// The cause.
  public let code: Code

  /// The number that was asked for or found, of bytes or descriptors depending on ``code``; 0 where
  /// there is nothing to count.
  public let actual: Int

  /// The number that would have been possible or was expected, in the unit of ``actual``.
  public let limit: Int

  /// The system's error number, for ``Code/systemCall`` only.
  public let errno: Errno?

  init(_ code: Code, actual: Int = 0, limit: Int = 0, errno: Errno? = nil) {
    self.code = code
    self.actual = actual
    self.limit = limit
    self.errno = errno
  }

  /// An error for a third party's own codec: `code` from this list, with the two counts it is
  /// about.
  public init(code: Code, actual: Int = 0, limit: Int = 0) {
    self.init(code, actual: actual, limit: limit, errno: nil)
  }

  /// A system call failed with `errno`.
  public static func systemCall(_ errno: Errno) -> AncillaryError {
    AncillaryError(.systemCall, errno: errno)
  }
}

extension AncillaryError {
  /// The cause of an ``AncillaryError``. More may be added: keep a `default` in every `switch`.
  public struct Code: Hashable, Sendable {
    let name: StaticName

    enum StaticName: String {
      case noCapacity, tooManyDescriptors, malformedData, wrongKind, addressTooLong,
        malformedAddress, wrongFamily
      case descriptorCount, emptyPayload, systemCall
    }

    /// The control message does not fit into the fixed buffer: ``AncillaryError/actual`` bytes are
    /// needed, ``AncillaryError/limit`` are free. Nothing was written.
    public static var noCapacity: Code { Code(name: .noCapacity) }

    /// More than ``ControlMessages/maximumDescriptors`` descriptors for one message (the kernel
    /// would say `EINVAL`).
    public static var tooManyDescriptors: Code { Code(name: .tooManyDescriptors) }

    /// The payload of a control message is not of the length or shape that its kind has.
    public static var malformedData: Code { Code(name: .malformedData) }

    /// The control message has another level or type than the kind it was to be decoded as.
    public static var wrongKind: Code { Code(name: .wrongKind) }

    /// A socket address is longer than `sun_path` (108 bytes) or than its abstract form (107 bytes)
    /// allows.
    public static var addressTooLong: Code { Code(name: .addressTooLong) }

    /// A path is empty or has a NUL inside, or the bytes are not a socket address.
    public static var malformedAddress: Code { Code(name: .malformedAddress) }

    /// The bytes are a socket address of another family.
    public static var wrongFamily: Code { Code(name: .wrongFamily) }

    /// Another number of descriptors arrived than the caller insists on. All that arrived have been
    /// closed.
    public static var descriptorCount: Code { Code(name: .descriptorCount) }

    /// Descriptors without a payload byte on a stream: Linux would return success and drop the
    /// descriptors.
    public static var emptyPayload: Code { Code(name: .emptyPayload) }

    /// A system call failed; see ``AncillaryError/errno``.
    public static var systemCall: Code { Code(name: .systemCall) }
  }
}

extension AncillaryError: CustomStringConvertible {
  /// A text for logs: the code's name, with the two counts or the system's error.
  public var description: String {
    if let errno { return "\(code.name.rawValue): \(errno)" }
    return actual == 0 && limit == 0
      ? code.name.rawValue : "\(code.name.rawValue) (\(actual), limit \(limit))"
  }
}

extension AncillaryError.Code: CustomStringConvertible {
  /// The code's name.
  public var description: String { name.rawValue }
}
