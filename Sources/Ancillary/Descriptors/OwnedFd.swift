// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// A file descriptor with exactly one owner: closed when the value ends, unless it was released.
///
/// It cannot be copied, so it cannot be closed twice, and using it after giving it away does not
/// compile. The number itself is only seen inside ``withUnsafeFileDescriptor(_:)`` or after
/// ``release()``.
///
/// Closing at the end of the value ignores errors; use ``close()`` where a delayed write error
/// matters.
@frozen
public struct OwnedFd: ~Copyable, Sendable {
  @usableFromInline let number: Int32

  /// Takes ownership of an open descriptor; from here on this value closes it.
  ///
  /// - Precondition: `descriptor` is not negative. The caller guarantees that it is open and that
  ///   no other code closes it.
  public init(adopting descriptor: FileDescriptor) {
    precondition(descriptor.rawValue >= 0, "a negative number is not a descriptor")
    self.number = descriptor.rawValue
  }

  @inlinable
  init(number: Int32) {
    precondition(number >= 0, "a negative number is not a descriptor")
    self.number = number
  }

  deinit { _ = closeNumber(number) }

  /// Gives the descriptor away without closing it. The caller owns it now.
  @inlinable
  public consuming func release() -> FileDescriptor {
    let number = self.number
    discard self
    return FileDescriptor(rawValue: number)
  }

  /// Closes now, and says what close(2) said.
  ///
  /// - Throws: `EIO`, `ENOSPC`, `EDQUOT` (a delayed write failed) or `EINTR`. The descriptor is
  ///   gone in every case: Linux frees the number before it reports, so the call is never repeated.
  public consuming func close() throws(Errno) {
    let number = self.number
    discard self
    if let errno = closeNumber(number) { throw errno }
  }

  /// A second descriptor for the same open file, with close-on-exec set (fcntl(2),
  /// `F_DUPFD_CLOEXEC`).
  ///
  /// Offset and status flags (`O_NONBLOCK` …) are shared with the original.
  ///
  /// - Throws: `EMFILE` when the process has no number left (`RLIMIT_NOFILE`); `EBADF` when the
  ///   descriptor was closed behind this value's back.
  public borrowing func duplicate() throws(Errno) -> OwnedFd {
    OwnedFd(number: try duplicateNumber(number))
  }

  /// Lends the raw descriptor to `body`, which must neither close it nor keep it: the number means
  /// nothing once this value has ended.
  @inlinable
  public borrowing func withUnsafeFileDescriptor<R: ~Copyable, E: Error>(
    _ body: (FileDescriptor) throws(E) -> R
  ) throws(E) -> R {
    try body(FileDescriptor(rawValue: number))
  }
}

extension Span where Element == OwnedFd {
  /// The descriptors' raw values. Unsafe because a raw value keeps nothing open: hold the borrow
  /// while you use it.
  @unsafe
  @inlinable
  package var fileDescriptors: Span<FileDescriptor> {
    @_lifetime(copy self)
    get {
      // SAFETY: OwnedFd and FileDescriptor are both one Int32; the result depends on this span's
      // memory.
      let start = unsafe withUnsafeBufferPointer { unsafe UnsafeRawPointer($0.baseAddress) }
      guard let start = unsafe start else { return Span<FileDescriptor>() }
      let numbers = unsafe Span<FileDescriptor>(
        _unsafeStart: start.assumingMemoryBound(to: FileDescriptor.self), count: count)
      return unsafe _overrideLifetime(numbers, copying: self)
    }
  }
}
