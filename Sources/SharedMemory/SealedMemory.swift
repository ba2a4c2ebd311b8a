// SPDX-License-Identifier: Apache-2.0
public import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// A memory file that no process can change, mapped for reading: its bytes stay as they are, and it
/// cannot be cut, so reading it never raises `SIGBUS`.
///
/// It is made by ``MutableMemory/sealed(prefix:)``, or of a descriptor that a peer has sent:
/// ```swift
/// guard let file = try await socket.receiveMessage()?.takeDescriptor() else { return }
/// let frame = try SealedMemory(adopting: file, atMost: 64 << 20)
/// process(frame.bytes)
/// ```
/// A span of it borrows the value: the compiler rejects a use of the span after the value's end.
/// The C names are memfd_create(2), `F_ADD_SEALS` and mmap(2).
public struct SealedMemory: ~Copyable, Sendable {
  /// The memory file, to be sent on: `sendMessage(header, descriptor: memory.descriptor)`.
  public let descriptor: OwnedFd
  let mapping: MemoryMapping

  /// Checks and maps a memory file that a peer has sent, in the order in which the peer cannot
  /// interfere: the kind, the seals, then the size, which the seals hold, then the mapping.
  ///
  /// The seals against writing and against shrinking are always required: without the one the bytes
  /// change while they are looked at, without the other the file can be cut, and touching the
  /// mapping ends the process. ``FileSeals/futureWrite`` does not replace ``FileSeals/write``:
  /// mappings that the peer has made before still write.
  ///
  /// The memory is charged to the process that touches it first. A peer can send a large file of
  /// holes at no cost; `limit` bounds what that takes here. Where the machine has no memory left
  /// for it, the process ends, as with any memory that is touched first: by the kernel's choice of
  /// a victim, or by `SIGBUS` where memory is never promised twice (`vm.overcommit_memory` = 2).
  ///
  /// - Parameters:
  ///   - file: The descriptor. It is closed when the call throws; to copy what is not sealed, see
  ///     ``init(adoptingOrCopying:atMost:)``.
  ///   - seals: Further seals to require.
  ///   - limit: How many bytes are admitted.
  ///   - admitsHugePages: Whether the file may consist of huge pages. Where a control group limits
  ///     them, touching a hole of such a file may end the process with `SIGBUS` in spite of all
  ///     seals; admit them from peers that are trusted to fill their files.
  /// - Precondition: `limit` is not negative.
  /// - Throws: ``MemoryError``: `notMemory`, `notReadable`, `missingSeals`, `hugePages`,
  ///   `tooLarge`; `system` with `ENOMEM` when the address space has no room. Not an error: a file
  ///   of no bytes.
  public init(
    adopting file: consuming OwnedFd, requiring seals: FileSeals = [], atMost limit: Int,
    admitsHugePages: Bool = false
  ) throws(MemoryError) {
    try self.init(
      adopting: file, requiring: seals, atMost: limit, admitsHugePages: admitsHugePages,
      afterTheLook: {})
  }

  /// - Parameter afterTheLook: Called between the check and the mapping. Tests act as a malicious
  ///   peer there.
  init(
    adopting file: consuming OwnedFd, requiring seals: FileSeals, atMost limit: Int,
    admitsHugePages: Bool, afterTheLook: () -> Void
  ) throws(MemoryError) {
    precondition(limit >= 0, "A limit is not negative")
    let isHuge = try Self.check(file, requiring: seals, admitsHugePages: admitsHugePages)
    let size = try file.check(cms_file_size)
    guard size <= limit else { throw MemoryError(.tooLarge, actual: size, limit: Int64(limit)) }
    afterTheLook()
    try self.init(sealed: file, byteCount: Int(size), isHuge ? .readOnlyShared : .readOnly)
  }

  /// Maps a memory file that is sealed as ``init(adopting:requiring:atMost:admitsHugePages:)``
  /// requires, and copies what is not: another memory file, or a regular file.
  ///
  /// - Throws: as ``init(adopting:requiring:atMost:admitsHugePages:)`` and
  ///   ``init(copying:atMost:)``.
  public init(adoptingOrCopying file: consuming OwnedFd, atMost limit: Int) throws(MemoryError) {
    try self.init(adoptingOrCopying: file, atMost: limit, afterTheLook: {})
  }

  init(adoptingOrCopying file: consuming OwnedFd, atMost limit: Int, afterTheLook: () -> Void)
    throws(MemoryError)
  {
    do throws(MemoryError) {
      _ = try Self.check(file, requiring: [], admitsHugePages: false)
    } catch  where [.notMemory, .missingSeals, .hugePages].contains(error.code) {
      try self.init(copying: file, atMost: limit, afterTheLook: afterTheLook)
      return
    }
    try self.init(
      adopting: file, requiring: [], atMost: limit, admitsHugePages: false,
      afterTheLook: afterTheLook)
  }

  /// Copies a file that the peer may still change: a regular file, or a memory file that is not
  /// sealed. The file is read by pread(2) and never mapped, so that its owner can cut it at any
  /// moment without harm; its offset stays where it is.
  ///
  /// The copy has the bytes that were there when they were read, up to the size that the file had
  /// at the beginning. When another process writes meanwhile, they may be of different moments.
  ///
  /// Reading a file of a FUSE file system waits for its server, for as long as that likes: admit
  /// regular files from peers that are trusted, and copy them away from the loop.
  ///
  /// - Throws: ``MemoryError``: `notMemory` (neither a memory file nor a regular file),
  ///   `notReadable`, `tooLarge`, `system`. Not an error: an empty file, also one of /proc, which
  ///   has no size.
  public init(copying file: borrowing OwnedFd, atMost limit: Int) throws(MemoryError) {
    try self.init(copying: file, atMost: limit, afterTheLook: {})
  }

  init(copying file: borrowing OwnedFd, atMost limit: Int, afterTheLook: () -> Void)
    throws(MemoryError)
  {
    precondition(limit >= 0, "A limit is not negative")
    let facts = file.facts
    guard facts.kind == .regularFile || facts.kind == .memoryFile else {
      throw MemoryError(.notMemory, facts: facts)
    }
    guard facts.access.contains(.read) else { throw MemoryError(.notReadable, facts: facts) }
    let size = try file.check(cms_file_size)
    guard size <= limit else { throw MemoryError(.tooLarge, actual: size, limit: Int64(limit)) }
    afterTheLook()
    var copy = try MutableMemory(byteCount: Int(size), name: "copy")
    let count = try copy.fill(from: file)
    self = try copy.sealed(prefix: count)
  }

  /// Makes sealed memory of bytes, which are copied once. To fill memory in place, see
  /// ``MutableMemory``.
  ///
  /// - Throws: as ``MutableMemory/init(byteCount:name:pages:)``.
  public init(copying bytes: RawSpan, name: String = "") throws(MemoryError) {
    var memory = try MutableMemory(byteCount: bytes.byteCount, name: name)
    var target = memory.bytes
    // SAFETY: both have `byteCount` bytes and do not overlap, because the target's are new.
    unsafe target.withUnsafeMutableBytes { target in
      unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
    }
    self = try memory.sealed()
  }

  /// Maps a file whose seals and size have been checked.
  init(sealed file: consuming OwnedFd, byteCount: Int, _ kind: MemoryMapping.Kind)
    throws(MemoryError)
  {
    do throws(MemoryError) {
      mapping = try MemoryMapping(file, byteCount: byteCount, kind)
    } catch  where kind == .readOnlyShared && error.errno == .notPermitted {
      // Before Linux 6.7, sealed files must be mapped privately.
      mapping = try MemoryMapping(file, byteCount: byteCount, .readOnly)
    }
    descriptor = file
  }

  /// Checks kind, access and seals. The seals alone identify a memory file: other files have none,
  /// or only `F_SEAL_SEAL`.
  ///
  /// - Returns: Whether the file consists of huge pages.
  private static func check(
    _ file: borrowing OwnedFd, requiring seals: FileSeals, admitsHugePages: Bool
  ) throws(MemoryError) -> Bool {
    let found = file.withUnsafeFileDescriptor { cms_file_seals($0.rawValue) }
    guard found >= 0 else { throw MemoryError(.notMemory, facts: file.facts) }
    let missing = seals.union([.write, .shrink]).subtracting(FileSeals(rawValue: found))
    guard missing.isEmpty else {
      throw MemoryError(.missingSeals, facts: file.facts, missing: missing)
    }
    let facts = try file.check(cms_status_flags)
    guard facts & cms_access_mode != cms_access_write_only else {
      throw MemoryError(.notReadable, facts: file.facts)
    }
    let isHuge = try file.check(cms_file_system) == cms_file_system_huge
    guard admitsHugePages || !isHuge else { throw MemoryError(.hugePages, facts: file.facts) }
    return isHuge
  }

  /// The size in bytes.
  public var byteCount: Int { mapping.byteCount }

  /// The bytes. They stay mapped as long as the value lives, and never change.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    borrowing get {
      guard let start = unsafe mapping.start else { return RawSpan() }
      // SAFETY: this many bytes are mapped there while `self` lives, which the span borrows; the
      // seals keep every process from changing or truncating them.
      let span = unsafe RawSpan(_unsafeStart: start, byteCount: mapping.byteCount)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// Ends the mapping, and gives the descriptor away.
  public consuming func releaseDescriptor() -> OwnedFd { descriptor }
}
