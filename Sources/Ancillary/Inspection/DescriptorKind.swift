// SPDX-License-Identifier: Apache-2.0
/// The kind of file that a descriptor refers to. More kinds may be added: keep a `default` in every
/// `switch`.
public enum DescriptorKind: Hashable, Sendable {
  /// A file. This includes files of /proc and /sys, which have side effects when read or written,
  /// and files of FUSE, on which every call may wait indefinitely.
  case regularFile
  /// A file in memory without a name. A file of a tmpfs can be made to look like one; its only seal
  /// is ``FileSeals/seal``, so ask for others. The C name is memfd_create(2).
  case memoryFile
  case directory
  /// A symbolic link itself, as only an `O_PATH` descriptor can be.
  case symbolicLink
  case characterDevice(major: UInt32, minor: UInt32)
  case blockDevice(major: UInt32, minor: UInt32)
  /// A pipe, with or without a name (FIFO).
  case pipe
  /// A socket. `AF_UNIX` is 1, `AF_INET` 2, `AF_INET6` 10; `SOCK_STREAM` is 1, `SOCK_DGRAM` 2,
  /// `SOCK_SEQPACKET` 5.
  case socket(family: Int32, type: Int32)
  /// An object of the kernel's that is no file: `eventfd`, `eventpoll`, `pidfd`, `inotify`,
  /// `io_uring`, `timerfd`, `signalfd`, `userfaultfd`, a namespace (`net`, `mnt`, `user` …). The
  /// name is the one that /proc/self/fd shows.
  case kernelObject(String)
  /// The kernel did not tell: a FUSE file of another user, or /proc is not mounted.
  case unknown
}

extension DescriptorKind: CustomStringConvertible {
  public var description: String {
    switch self {
    case .regularFile: "regular file"
    case .memoryFile: "memory file"
    case .directory: "directory"
    case .symbolicLink: "symbolic link"
    case .characterDevice(let major, let minor): "character device \(major):\(minor)"
    case .blockDevice(let major, let minor): "block device \(major):\(minor)"
    case .pipe: "pipe"
    case .socket(let family, let type): "socket of family \(family), type \(type)"
    case .kernelObject(let name): name.visible
    case .unknown: "unknown"
    }
  }
}
