// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The pages of a file in this process's memory, starting at the file's first byte; unmapped when
/// the value ends.
///
/// Sendable: only this value uses the pages, munmap(2) may be called on any thread, and the value
/// cannot be copied.
@safe
struct MemoryMapping: ~Copyable, @unchecked Sendable {
  /// Page-aligned; nil if no byte is mapped, which mmap(2) would refuse.
  let start: UnsafeMutableRawPointer?
  let byteCount: Int

  enum Kind {
    /// `MAP_PRIVATE`: before Linux 6.7, a file that is sealed against writing cannot be mapped
    /// shared, not even for reading.
    case readOnly
    /// `MAP_SHARED`: a private mapping of huge pages would reserve the pages a second time.
    case readOnlyShared
    case writable
  }

  init(_ file: borrowing OwnedFd, byteCount: Int, _ kind: Kind) throws(MemoryError) {
    assert(byteCount >= 0, "a negative size reached the mapping")
    self.byteCount = byteCount
    guard byteCount > 0 else {
      unsafe start = nil
      return
    }
    let number =
      switch kind {
      case .readOnly: cms_mapping_read_only
      case .readOnlyShared: cms_mapping_read_only_shared
      case .writable: cms_mapping_writable
      }
    var mapped: UnsafeMutableRawPointer?
    try file.check { file in unsafe cms_map(file, byteCount, number, &mapped) }
    unsafe start = mapped
  }

  deinit {
    // SAFETY: mapped by the initializer with this length, and unmapped only here. No span outlives
    // the value, because each borrows its owner.
    if let start = unsafe start { unsafe cms_unmap(start, byteCount) }
  }
}

extension OwnedFd {
  /// Calls a function of the C target with the descriptor's number.
  ///
  /// - Throws: ``MemoryError`` with the code `system` if the result is negative.
  @discardableResult
  borrowing func check<Result: SignedInteger>(_ call: (Int32) -> Result) throws(MemoryError)
    -> Result
  {
    let result = withUnsafeFileDescriptor { call($0.rawValue) }
    guard result >= 0 else { throw MemoryError(errno: Errno(rawValue: -Int32(result))) }
    return result
  }
}
