// SPDX-License-Identifier: Apache-2.0
public import Ancillary
public import SystemPackage

/// The reason why memory could not be made, sealed, mapped or copied.
///
/// Compare ``code``; the other fields say more. More codes may be added, so keep a `default` in
/// every `switch`.
public struct MemoryError: Error, Hashable, Sendable {
  /// The cause.
  public let code: Code
  /// The kind, access and seals of the descriptor that was refused; nil for other causes.
  public let facts: DescriptorFacts?
  /// The seals that were required and are not there, for ``Code/missingSeals``.
  public let missing: FileSeals
  /// The number of bytes that there are, or that were asked for; 0 for causes without a size.
  public let actual: Int64
  /// The number of bytes that would have been admitted; 0 for causes without a limit.
  public let limit: Int64
  /// The system's error number, for ``Code/system`` and ``Code/stillWritable``.
  public let errno: Errno?

  init(
    _ code: Code, facts: DescriptorFacts? = nil, missing: FileSeals = [], actual: Int64 = 0,
    limit: Int64 = 0, errno: Errno? = nil
  ) {
    self.code = code
    self.facts = facts
    self.missing = missing
    self.actual = actual
    self.limit = limit
    self.errno = errno
  }

  init(errno: Errno) { self.init(.system, errno: errno) }

  /// The cause of a ``MemoryError``.
  public struct Code: Hashable, Sendable {
    private let name: Name

    private enum Name: String {
      case notMemory, notReadable, missingSeals, tooLarge, hugePages, misaligned, outOfBounds
      case wrongSize, invalidName, stillWritable, system
    }

    private init(_ name: Name) { self.name = name }

    /// The descriptor leads to something other than a memory file, or, for a copy, than a file.
    public static var notMemory: Code { Code(.notMemory) }
    /// The descriptor does not permit reading.
    public static var notReadable: Code { Code(.notReadable) }
    /// The memory file lacks seals that were required: ``MemoryError/missing``.
    public static var missingSeals: Code { Code(.missingSeals) }
    /// The file is larger than admitted: ``MemoryError/actual``, ``MemoryError/limit``.
    public static var tooLarge: Code { Code(.tooLarge) }
    /// The file consists of huge pages, which were not admitted.
    public static var hugePages: Code { Code(.hugePages) }
    /// The offset is not a multiple of the element's alignment, which is ``MemoryError/limit``.
    public static var misaligned: Code { Code(.misaligned) }
    /// The range ends behind the memory, or begins before it.
    public static var outOfBounds: Code { Code(.outOfBounds) }
    /// The bytes up to the end are not a whole number of elements.
    public static var wrongSize: Code { Code(.wrongSize) }
    /// The name has a NUL, or more than 249 bytes of UTF-8.
    public static var invalidName: Code { Code(.invalidName) }
    /// Sealing failed because the file is mapped for writing elsewhere, through a duplicate of its
    /// descriptor, or because the kernel still reads its pages for an earlier call (`EBUSY`).
    public static var stillWritable: Code { Code(.stillWritable) }
    /// A system call failed: ``MemoryError/errno``.
    public static var system: Code { Code(.system) }
  }
}

extension MemoryError: CustomStringConvertible {
  public var description: String {
    let cause =
      switch code {
      case .notMemory: "not a memory file"
      case .notReadable: "not open for reading"
      case .missingSeals: "not sealed against \(missing)"
      case .tooLarge: "\(actual) bytes, more than the limit of \(limit)"
      case .hugePages: "made of huge pages, which are not admitted"
      case .misaligned: "an offset of \(actual) is not a multiple of the alignment, \(limit)"
      case .outOfBounds: "the range ends at byte \(actual) of \(limit)"
      case .wrongSize: "\(actual) bytes are not a multiple of the element's size, \(limit)"
      case .invalidName:
        "the name has a NUL, or is \(actual) bytes long, more than the limit of \(limit)"
      case .stillWritable: "the memory is still mapped for writing elsewhere"
      default: "the system call failed"
      }
    return cause + (facts.map { ": a \($0)" } ?? "") + (errno.map { " [\($0)]" } ?? "")
  }
}

extension MemoryError.Code: CustomStringConvertible {
  public var description: String { name.rawValue }
}
