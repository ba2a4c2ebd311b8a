// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// The ways in which an open file may be used, as it was opened. The C names are `O_ACCMODE` and
/// `O_PATH` (fcntl(2), `F_GETFL`).
///
/// Empty for a file that can be neither read nor written, but only be asked by ioctl(2): Linux
/// opens one for the access mode 3, if the file permits reading and writing (open(2)). A rule that
/// requires reading or writing refuses it.
public struct DescriptorAccess: OptionSet, Hashable, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// `O_RDONLY` or `O_RDWR`.
  public static var read: DescriptorAccess { DescriptorAccess(rawValue: 1) }
  /// `O_WRONLY` or `O_RDWR`.
  public static var write: DescriptorAccess { DescriptorAccess(rawValue: 2) }
  /// The descriptor names a place in a file system, and is not open. Its receiver may be able to
  /// open the file, with its own rights. `O_PATH`.
  public static var pathOnly: DescriptorAccess { DescriptorAccess(rawValue: 4) }

  /// Decodes the status flags of `F_GETFL`.
  init(statusFlags flags: Int32) {
    if flags & cms_access_path != 0 {
      self = .pathOnly
    } else {
      switch flags & cms_access_mode {
      case cms_access_read_write: self = [.read, .write]
      case cms_access_write_only: self = .write
      case cms_access_read_only: self = .read
      default: self = []
      }
    }
  }
}

extension DescriptorAccess: CustomStringConvertible {
  public var description: String {
    let names: [(DescriptorAccess, String)] = [
      (.read, "read"), (.write, "write"), (.pathOnly, "path only"),
    ]
    if isEmpty { return "neither read nor write" }
    return names.filter { contains($0.0) }.map(\.1).joined(separator: ", ")
  }
}
