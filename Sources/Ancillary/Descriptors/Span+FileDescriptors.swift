// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

extension Span where Element == OwnedFd {
  /// The numbers of the descriptors. Unsafe because a number keeps nothing open: whoever uses them
  /// must hold the borrow meanwhile.
  @unsafe
  package var fileDescriptors: Span<FileDescriptor> {
    @_lifetime(copy self)
    get {
      // SAFETY: OwnedFd and FileDescriptor are both one Int32; the result depends on the same
      // memory as this span.
      let start = unsafe withUnsafeBufferPointer { unsafe UnsafeRawPointer($0.baseAddress) }
      guard let start = unsafe start else { return Span<FileDescriptor>() }
      let numbers = unsafe Span<FileDescriptor>(
        _unsafeStart: start.assumingMemoryBound(to: FileDescriptor.self), count: count)
      return unsafe _overrideLifetime(numbers, copying: self)
    }
  }
}
