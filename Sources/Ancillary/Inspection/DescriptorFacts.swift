// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
package import SystemPackage

/// The facts about a descriptor that can be had without waiting: ``OwnedFd/facts``.
public struct DescriptorFacts: Hashable, Sendable {
  public let kind: DescriptorKind
  public let access: DescriptorAccess
  /// The seals of a memory file; nil for other descriptors.
  public let seals: FileSeals?

  public init(kind: DescriptorKind, access: DescriptorAccess, seals: FileSeals? = nil) {
    self.kind = kind
    self.access = access
    self.seals = seals
  }
}

extension DescriptorFacts: CustomStringConvertible {
  public var description: String {
    let seals = seals.map { ", sealed against \($0.isEmpty ? "nothing" : "\($0)")" } ?? ""
    return "\(kind) (\(access)\(seals))"
  }
}

extension OwnedFd {
  /// Inspects the descriptor without waiting for any other process: for descriptors from peers that
  /// are not trusted. About 1 µs; 5 µs for regular files and kernel objects.
  ///
  /// `fstat(2)` is not used: on a FUSE file it waits for the file system's server, forever if the
  /// server wants that. Nothing here asks a file system or takes a lock of a pipe or socket.
  /// (Proven for FUSE by a test with a server that does not answer. According to their sources,
  /// NFS, Ceph and AFS honour `AT_STATX_DONT_SYNC` too; 9P and OCFS2 do not, but only an
  /// administrator can mount these.)
  public var facts: DescriptorFacts {
    let flags = cms_status_flags(number)
    guard flags >= 0 else { return DescriptorFacts(kind: .unknown, access: []) }
    let access = DescriptorAccess(statusFlags: flags)
    var status = cms_file_status()
    guard unsafe cms_file_status_cached(number, &status) == 0 else {
      return DescriptorFacts(kind: .unknown, access: access)
    }
    let kind: DescriptorKind
    switch status.mode & cms_mode_type {
    case cms_mode_regular: return regularFacts(access)
    case cms_mode_directory: kind = .directory
    case cms_mode_symbolic_link: kind = .symbolicLink
    case cms_mode_fifo: kind = .pipe
    case cms_mode_socket: kind = socketKind
    case cms_mode_character_device:
      kind = .characterDevice(major: status.device_major, minor: status.device_minor)
    case cms_mode_block_device:
      kind = .blockDevice(major: status.device_major, minor: status.device_minor)
    case 0: kind = Self.kernelObject(text)
    default: kind = .unknown
    }
    return DescriptorFacts(kind: kind, access: access)
  }

  /// Distinguishes regular files from memory files and namespaces, which the kernel also reports as
  /// regular files.
  private func regularFacts(_ access: DescriptorAccess) -> DescriptorFacts {
    let seals = cms_file_seals(number)
    let text = text
    if seals >= 0, text.hasPrefix("/memfd:") {
      return DescriptorFacts(kind: .memoryFile, access: access, seals: FileSeals(rawValue: seals))
    }
    // The text of a real file begins with a slash, whatever name its owner gives it.
    let isFile = text.hasPrefix("/") || text.hasPrefix("(")
    return DescriptorFacts(kind: isFile ? .regularFile : Self.kernelObject(text), access: access)
  }

  private var socketKind: DescriptorKind {
    guard let family = socketOption(cms_so_domain), let type = socketOption(cms_so_type) else {
      return .unknown
    }
    return .socket(family: family, type: type)
  }

  /// The value of `SO_DOMAIN` or `SO_TYPE`; nil for an `O_PATH` descriptor of a socket file.
  private func socketOption(_ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length: UInt32 = 4
    return unsafe cms_get_option(number, cms_sol_socket, name, &value, &length) == 0 ? value : nil
  }

  private var text: String { FileDescriptor(rawValue: number).shownName }

  static func kernelObject(_ text: String) -> DescriptorKind {
    var name = text[...]
    if name.hasPrefix("anon_inode:") {
      name = name.dropFirst("anon_inode:".count)
      if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
    } else if let colon = name.firstIndex(of: ":") {
      name = name[..<colon]
    }
    return name.isEmpty || name.hasPrefix("/") ? .unknown : .kernelObject(String(name))
  }
}

extension FileDescriptor {
  /// The text of the link in /proc/self/fd: a path, or for example `anon_inode:[eventfd]` or
  /// `net:[4026531840]`. Empty if it cannot be read.
  package var shownName: String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
      let length = unsafe cms_descriptor_text(rawValue, buffer.baseAddress, UInt32(buffer.count))
      // SAFETY: the call has filled this many bytes.
      return unsafe String(
        decoding: UnsafeRawBufferPointer(buffer)[..<max(0, Int(length))], as: UTF8.self)
    }
  }
}
