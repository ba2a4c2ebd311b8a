// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CAllocationCounter
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// The number of allocations is part of the contract. (With a sanitizer, allocations cannot be
  /// counted.)
  @Suite(.enabled(if: cac_allocations() >= 0)) struct AllocationTests {
    /// Heap allocations of this thread during `body`.
    static func count(_ body: () -> Void) -> Int64 {
      let before = cac_allocations()
      body()
      return cac_allocations() - before
    }

    @Test func theCounterCounts() {
      let allocations = Self.count {
        unsafe UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 8).deallocate()
      }
      #expect(allocations == 1)
    }

    @Test(arguments: [1, 4, 5, 253]) func encodingAllocatesNothing(_ count: Int) {
      let canaries = Canaries(count)
      var memory = [UInt8](repeating: 0, count: 2048)
      var allocations: Int64 = -1
      // Outside the closure, because the compiler (6.3.1) crashes on the span of a captured value.
      let span = canaries.writers.span
      unsafe memory.withUnsafeMutableBytes { control in
        let before = cac_allocations()
        _ = try? unsafe ControlMessages.encodeRights(span, into: control)
        allocations = cac_allocations() - before
      }
      #expect(allocations == 0)
    }

    @Test(arguments: [1, 4, 5, 253]) func decodingIntoReservedRoomAllocatesNothing(_ count: Int) {
      var control = Self.control(count)
      var descriptors = OwnedFds()
      descriptors.reserveCapacity(count)
      var allocations: Int64 = -1
      unsafe control.bytes.withUnsafeMutableBytes { bytes in
        let before = cac_allocations()
        _ = unsafe descriptors.adopt(rightsIn: bytes)
        allocations = cac_allocations() - before
      }
      #expect(allocations == 0)
      #expect(descriptors.count == count)
    }

    /// Space freed by taking descriptors from the front is reused.
    @Test(arguments: [4, 10, 253]) func roomAtTheFrontIsUsedAgain(_ capacity: Int) {
      var descriptors = OwnedFds()
      descriptors.reserveCapacity(capacity)
      var first = Self.control(capacity)
      _ = unsafe first.bytes.withUnsafeMutableBytes { unsafe descriptors.adopt(rightsIn: $0) }
      let last = descriptors.span[capacity - 1].identity
      for _ in 0..<capacity - 1 { _ = descriptors.takeFirst() }
      var second = Self.control(capacity - 1)
      var allocations: Int64 = -1
      unsafe second.bytes.withUnsafeMutableBytes { bytes in
        let before = cac_allocations()
        _ = unsafe descriptors.adopt(rightsIn: bytes)
        allocations = cac_allocations() - before
      }
      #expect(allocations == 0)
      let span = descriptors.span
      #expect(span.count == capacity)
      #expect(span[0].identity == last)
      #expect(Set(span.indices.map { span[$0].identity }).count == capacity)
    }

    @Test(arguments: [(1, 0), (4, 0), (5, 1), (253, 1)]) func decodingAfreshAllocatesOnceBeyondFour(
      _ count: Int, _ expected: Int64
    ) {
      var control = Self.control(count)
      var allocations: Int64 = -1
      var taken = 0
      unsafe control.bytes.withUnsafeMutableBytes { bytes in
        let before = cac_allocations()
        let received = unsafe ReceivedAncillary(takingFrom: bytes)
        allocations = cac_allocations() - before
        taken = received.descriptors.count
      }
      #expect(taken == count)
      #expect(allocations == expected)
    }

    @Test func walkingAndTypedKindsAllocateNothing() {
      var buffer = ControlMessageBuffer()
      buffer.append(Credentials(processID: 1, userID: 2, groupID: 3))
      buffer.append(HopLimit(.v4, 3))
      buffer.append(PacketInfoV4(interfaceIndex: 1))
      let bytes = buffer.bytes
      var found = 0
      let allocations = Self.count {
        var iterator = ControlMessages(unsafe bytes.span.bytes).makeIterator()
        while let message = iterator.next() {
          if (try? message.decode(as: Credentials.self)) != nil { found += 1 }
          if (try? message.decode(as: HopLimit.self)) != nil { found += 1 }
          if (try? message.decode(as: PacketInfoV4.self)) != nil { found += 1 }
        }
      }
      #expect(found == 3)
      #expect(allocations == 0)
    }

    /// Control bytes with real descriptors.
    static func control(_ count: Int) -> RawControl {
      var canaries = Canaries(count)
      var control = RawControl()
      var numbers: [Int32] = []
      while let writer = canaries.writers.takeFirst() { numbers.append(rawNumber(writer)) }
      control.addRights(numbers)
      return control
    }
  }
}
