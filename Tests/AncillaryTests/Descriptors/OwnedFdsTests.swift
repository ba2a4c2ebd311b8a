// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  @Suite struct OwnedFdsTests {
    /// Sizes around the inline capacity, and the maximum of one message.
    static let sizes = [0, 1, 3, 4, 5, 8, 17, 253]

    static func identities(of descriptors: borrowing OwnedFds) -> [FileIdentity] {
      let span = descriptors.span
      return span.indices.map { span[$0].identity }
    }

    @Test(arguments: sizes) func dropClosesAll(_ count: Int) {
      var canaries = Canaries(count)
      do {
        var descriptors = OwnedFds()
        while let writer = canaries.writers.takeFirst() { descriptors.append(writer) }
        #expect(descriptors.count == count)
      }
      let released = canaries.released(expecting: count)
      #expect(released == count)
    }

    @Test(arguments: sizes) func takeFirstKeepsTheOrder(_ count: Int) {
      var canaries = Canaries(count)
      let expected = Self.identities(of: canaries.writers)
      var taken: [FileIdentity] = []
      while let descriptor = canaries.writers.takeFirst() { taken.append(descriptor.identity) }
      #expect(taken == expected)
      let released = canaries.released(expecting: count)
      #expect(released == count)
    }

    @Test(arguments: sizes) func takeLastTakesFromTheEnd(_ count: Int) {
      var canaries = Canaries(count)
      let expected = Array(Self.identities(of: canaries.writers).reversed())
      var taken: [FileIdentity] = []
      while let descriptor = canaries.writers.takeLast() { taken.append(descriptor.identity) }
      #expect(taken == expected)
      let isEmpty = canaries.writers.isEmpty
      #expect(isEmpty)
    }

    @Test func keepFirstClosesTheSurplusOnly() {
      var canaries = Canaries(7)
      let closed = canaries.writers.keepFirst(2)
      #expect(closed == 5)
      #expect(canaries.writers.count == 2)
      let released = canaries.released(expecting: 5)
      #expect(released == 5)
      let again = canaries.writers.keepFirst(2)
      #expect(again == 0)
    }

    @Test func closeAllLeavesItUsable() {
      var canaries = Canaries(5)
      canaries.writers.closeAll()
      let isEmpty = canaries.writers.isEmpty
      #expect(isEmpty)
      let released = canaries.released(expecting: 5)
      #expect(released == 5)
      var other = Canary()
      canaries.writers.append(other.take())
      #expect(canaries.writers.count == 1)
    }

    /// A queue that is never empty moves through its memory again and again.
    @Test(arguments: [4, 9]) func worksAsAQueue(_ depth: Int) {
      var queue = OwnedFds()
      var expected: [FileIdentity] = []
      var seen: [FileIdentity] = []
      for step in 0..<40 {
        var canary = Canary()
        let writer = canary.take()
        expected.append(writer.identity)
        queue.append(writer)
        if step >= depth, let first = queue.takeFirst() { seen.append(first.identity) }
      }
      while let first = queue.takeFirst() { seen.append(first.identity) }
      #expect(seen == expected)
    }

    @Test func spanLendsWithoutTaking() {
      for count in Self.sizes {
        let canaries = Canaries(count)
        let span = canaries.writers.span
        #expect(span.count == count)
        let distinct = Set(span.indices.map { span[$0].identity })
        #expect(distinct.count == count)
      }
    }

    @Test func spanAfterTakingStartsAtTheRest() {
      var canaries = Canaries(4)
      let second = canaries.writers.span[1].identity
      _ = canaries.writers.takeFirst()
      let span = canaries.writers.span
      #expect(span.count == 3)
      #expect(span[0].identity == second)
    }

    @Test func setsCloseOnExecOnAll() throws {
      var descriptors = OwnedFds()
      for _ in 0..<6 {
        let copy = dup(2)
        descriptors.append(OwnedFd(adopting: FileDescriptor(rawValue: copy)))
      }
      try descriptors.setCloseOnExec()
      while let descriptor = descriptors.takeFirst() {
        let flags = descriptor.withUnsafeFileDescriptor { fcntl($0.rawValue, F_GETFD) }
        #expect(flags == FD_CLOEXEC)
      }
    }

    @Test(arguments: [0, 1, 4, 9]) func releaseAllGivesThemAwayOpen(_ count: Int) throws {
      var canaries = Canaries(count)
      let given = unsafe canaries.writers.releaseAll { span in span.indices.map { span[$0] } }
      #expect(given.count == count)
      #expect(canaries.writers.count == 0)
      let held = canaries.released(expecting: 0)
      #expect(held == 0)
      for descriptor in given { try descriptor.close() }
      let released = canaries.released(expecting: count)
      #expect(released == count)
    }

    @Test func descriptionHasNoNumbers() {
      var canaries = Canaries(2)
      #expect(canaries.writers.debugDescription == "OwnedFds(2 descriptors)")
      _ = canaries.writers.takeLast()
      #expect(canaries.writers.debugDescription == "OwnedFds(1 descriptor)")
    }
  }
}
