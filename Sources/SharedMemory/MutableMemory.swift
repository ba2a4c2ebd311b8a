// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// A new memory file that is filled in place, and then sealed: ``sealed(prefix:)``.
/// ```swift
/// var memory = try MutableMemory(byteCount: width * height * 4, name: "frame")
/// var pixels = memory.bytes
/// …
/// let frame = try memory.sealed()
/// try await socket.sendMessage(header, descriptor: frame.descriptor)
/// ```
/// The memory is this process's own until it is sealed. A value that ends unsealed frees it.
/// The C name is memfd_create(2); Linux 3.17.
public struct MutableMemory: ~Copyable, Sendable {
  private let file: OwnedFd
  let mapping: MemoryMapping
  private let pages: PageSize

  /// The pages that the memory consists of.
  public enum PageSize: Sendable {
    /// The system's pages: 4 KiB on most machines.
    case system
    /// Huge pages of the system's default size. `MFD_HUGETLB`, Linux 4.14.
    case huge
    /// Huge pages of 2 MiB. `MFD_HUGE_2MB`.
    case huge2MiB
    /// Huge pages of 1 GiB. `MFD_HUGE_1GB`.
    case huge1GiB
  }

  /// Makes a memory file of zeros, which cannot be executed where the kernel can keep it from that
  /// (`MFD_NOEXEC_SEAL`, Linux 6.3), and maps it.
  ///
  /// - Parameters:
  ///   - byteCount: The size; a multiple of the page size for huge pages.
  ///   - name: A name for /proc/PID/maps and for `ls -l /proc/PID/fd`, at most 249 bytes.
  ///   - pages: Huge pages come out of the pool of `vm.nr_hugepages`, and are taken here. Receivers
  ///     of this package must admit them.
  /// - Precondition: `byteCount` is not negative.
  /// - Throws: ``MemoryError``: `invalidName`; `system` with `ENOMEM` (no memory, address space or
  ///   huge page left), `EMFILE`, or `EINVAL` (huge pages of that size do not exist here, or the
  ///   size is not a multiple of theirs).
  public init(byteCount: Int, name: String = "", pages: PageSize = .system) throws(MemoryError) {
    precondition(byteCount >= 0, "A memory file has no negative size")
    let file = try Self.makeFile(name: name, flags: pages.flags)
    try file.check { cms_file_truncate($0, Int64(byteCount)) }
    // If a huge page were not available when it is first touched, the process would end.
    if pages != .system, byteCount > 0 { try file.check { cms_file_reserve($0, Int64(byteCount)) } }
    mapping = try MemoryMapping(file, byteCount: byteCount, .writable)
    self.file = file
    self.pages = pages
  }

  private static func makeFile(name: String, flags: UInt32) throws(MemoryError) -> OwnedFd {
    guard name.utf8.count <= cms_memory_name_limit, !name.utf8.contains(0) else {
      throw MemoryError(
        .invalidName, actual: Int64(name.utf8.count), limit: Int64(cms_memory_name_limit))
    }
    var number = unsafe cms_memory_create(name, cms_memory_noexec_seal | flags)
    // Before Linux 6.3. The unknown flag would also have allowed sealing, so this must be requested
    // separately.
    if number == -Errno.invalidArgument.rawValue {
      number = unsafe cms_memory_create(name, cms_memory_allow_sealing | flags)
    }
    guard number >= 0 else { throw MemoryError(errno: Errno(rawValue: -number)) }
    return OwnedFd(adopting: FileDescriptor(rawValue: number))
  }

  /// The size in bytes.
  public var byteCount: Int { mapping.byteCount }

  /// The memory, to be filled; zeros at first.
  public var bytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      guard let start = unsafe mapping.start else { return MutableRawSpan() }
      // SAFETY: this many bytes are mapped for writing there as long as `self` lives. No other
      // process has the file, and the span borrows `self` exclusively.
      let span = unsafe MutableRawSpan(_unsafeStart: start, byteCount: mapping.byteCount)
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }

  /// Ends writing: unmaps the memory, seals the file against writing, shrinking, growing and
  /// further seals, and maps it again for reading. Nothing is copied.
  ///
  /// - Parameter count: How many bytes to keep; nil keeps all.
  /// - Precondition: `count` is not negative, and not above ``byteCount``.
  /// - Throws: ``MemoryError``: `system` with `ENOMEM` (no address space), or `EINVAL` (a prefix
  ///   that is not a multiple of huge pages). The memory is freed then.
  public consuming func sealed(prefix count: Int? = nil) throws(MemoryError) -> SealedMemory {
    let byteCount = count ?? mapping.byteCount
    precondition(0...mapping.byteCount ~= byteCount, "A prefix is not longer than the memory")
    let isCut = byteCount < mapping.byteCount
    let kind: MemoryMapping.Kind = pages == .system ? .readOnly : .readOnlyShared
    // `F_SEAL_WRITE` is refused while a writable mapping exists.
    let file = unmapped()
    if isCut { try file.check { cms_file_truncate($0, Int64(byteCount)) } }
    do throws(MemoryError) {
      try file.check { cms_memory_add_seals($0, FileSeals.all.rawValue) }
    } catch {
      throw error.errno == .resourceBusy ? MemoryError(.stillWritable, errno: error.errno) : error
    }
    return try SealedMemory(sealed: file, byteCount: byteCount, kind)
  }

  private consuming func unmapped() -> OwnedFd { file }

  /// Reads a file from its beginning into the memory, until one of the two ends.
  ///
  /// - Returns: The number of bytes read.
  mutating func fill(from source: borrowing OwnedFd) throws(MemoryError) -> Int {
    guard let start = unsafe mapping.start else { return 0 }
    var filled = 0
    while filled < mapping.byteCount {
      let room = mapping.byteCount - filled
      // SAFETY: `room` bytes are mapped for writing after the filled ones.
      let count = try source.check { unsafe cms_file_read($0, start + filled, room, Int64(filled)) }
      if count == 0 { break }
      filled += Int(count)
    }
    return filled
  }
}

extension MutableMemory.PageSize {
  var flags: UInt32 {
    switch self {
    case .system: 0
    case .huge: cms_memory_huge
    case .huge2MiB: cms_memory_huge | cms_memory_huge_2mb
    case .huge1GiB: cms_memory_huge | cms_memory_huge_1gb
    }
  }
}

extension FileSeals {
  /// The seals that ``MutableMemory/sealed(prefix:)`` sets.
  static var all: FileSeals { [.seal, .shrink, .grow, .write] }
}
