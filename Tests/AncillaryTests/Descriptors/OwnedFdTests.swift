// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  @Suite struct OwnedFdTests {
    @Test func closesAtTheEndOfItsScope() {
      var canary = Canary()
      do {
        let descriptor = canary.take()
        _ = descriptor.identity
      }
      let released = canary.isReleased()
      #expect(released)
    }

    @Test func releaseGivesTheNumberAwayOpen() throws {
      var canary = Canary()
      let descriptor = canary.take().release()
      let held = canary.isHeld()
      #expect(held)
      try descriptor.close()
      let released = canary.isReleased()
      #expect(released)
    }

    @Test func closeReportsTheSystemsError() throws {
      var canary = Canary()
      try canary.take().close()
      let released = canary.isReleased()
      #expect(released)
      // A number that cannot be open, because it is above every descriptor limit.
      #expect(throws: Errno.badFileDescriptor) {
        try OwnedFd(adopting: FileDescriptor(rawValue: Int32.max)).close()
      }
    }

    @Test func duplicateIsTheSameFileClosedOnExec() throws {
      var canary = Canary()
      let original = canary.take()
      let copy = try original.duplicate()
      #expect(copy.identity == original.identity)
      let flags = copy.withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) }
      #expect(flags == FD_CLOEXEC)
      try original.close()
      let held = canary.isHeld()
      #expect(held)
      try copy.close()
      let released = canary.isReleased()
      #expect(released)
    }

    @Test func duplicateOfAClosedNumberThrows() {
      let stale = OwnedFd(adopting: FileDescriptor(rawValue: Int32.max))
      #expect(throws: Errno.badFileDescriptor) { _ = try stale.duplicate() }
    }

    @Test func negativeNumbersAreMisuse() async {
      await #expect(processExitsWith: .failure) {
        _ = OwnedFd(adopting: FileDescriptor(rawValue: -1))
      }
    }

    @Test func typedErrorsPassThrough() {
      struct Refusal: Error, Equatable {}
      var canary = Canary()
      let descriptor = canary.take()
      #expect(throws: Refusal()) {
        try descriptor.withUnsafeFileDescriptor { (_) throws(Refusal) in throw Refusal() }
      }
    }
  }
}
