// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// Bytes as recvmsg(2) leaves them, with real descriptors.
  @Suite struct AdoptionTests {
    @Test(arguments: [1, 2, 3, 4, 5, 252, 253]) func adoptsAllOnceAndScrubs(_ count: Int) {
      var canaries = Canaries(count)
      var control = RawControl()
      var numbers: [Int32] = []
      while let writer = canaries.writers.takeFirst() { numbers.append(rawNumber(writer)) }
      control.addRights(numbers)

      var bytes = control.bytes
      unsafe bytes.withUnsafeMutableBytes { buffer in
        let received = unsafe ReceivedAncillary(takingFrom: buffer)
        #expect(received.descriptors.count == count)
        #expect(received.failures.isEmpty)
        let again = unsafe ReceivedAncillary(takingFrom: buffer)
        #expect(again.descriptors.count == 0)
        #expect(again.failures.count == count)
      }
      #expect(Array(bytes[16..<16 + 4 * count]) == Array(repeating: 0xFF, count: 4 * count))
      let released = canaries.released(expecting: count)
      #expect(released == count)
    }

    @Test func unalignedBytes() {
      var canaries = Canaries(2)
      var control = RawControl()
      control.addRights([
        rawNumber(canaries.writers.takeFirst()!), rawNumber(canaries.writers.takeFirst()!),
      ])
      var bytes = [0] + control.bytes
      unsafe bytes.withUnsafeMutableBytes { buffer in
        let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[1...])
        let descriptors = unsafe OwnedFds(adoptingRightsIn: rest)
        #expect(descriptors.count == 2)
      }
      let released = canaries.released(expecting: 2)
      #expect(released == 2)
    }

    @Test func severalMessagesBehindUnknownKinds() {
      var canaries = Canaries(3)
      var control = RawControl()
      control.add(level: 0x7FFF, type: -1, payload: [1, 2, 3])
      control.addRights([rawNumber(canaries.writers.takeFirst()!)])
      control.add(level: 1, type: 84, payload: littleEndian(Int32(7)))
      control.addRights([
        rawNumber(canaries.writers.takeFirst()!), rawNumber(canaries.writers.takeFirst()!),
      ])
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        let received = unsafe ReceivedAncillary(takingFrom: buffer)
        #expect(received.descriptors.count == 3)
      }
      let released = canaries.released(expecting: 3)
      #expect(released == 3)
    }

    @Test func negativeSlotsAreReportedInPlace() {
      var canaries = Canaries(2)
      var control = RawControl()
      control.addRights([
        rawNumber(canaries.writers.takeFirst()!), -13, rawNumber(canaries.writers.takeFirst()!),
        Int32.min,
      ])
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        let received = unsafe ReceivedAncillary(takingFrom: buffer)
        #expect(received.descriptors.count == 2)
        #expect(received.failures.map(\.position) == [1, 3])
        #expect(received.failures.map(\.errno) == [.permissionDenied, .badFileDescriptor])
      }
      let released = canaries.released(expecting: 2)
      #expect(released == 2)
    }

    /// Positions count all slots of the message, including those that had already failed. (Numbers
    /// that are not open cannot be duplicated.)
    @Test func failedDuplicatesKeepTheirPlaces() {
      var canaries = Canaries(1)
      var control = RawControl()
      control.addRights([-13, .max, -5, .max - 1, rawNumber(canaries.writers.takeFirst()!)])
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        let received = unsafe ReceivedAncillary(takingFrom: buffer)
        var failures = received.failures
        let copy = OwnedFds(duplicating: received.descriptors, failures: &failures)
        #expect(received.failures.map(\.position) == [0, 2])
        #expect(failures.map(\.position) == [0, 2, 1, 3])
        #expect(
          failures.map(\.errno) == [
            .permissionDenied, .ioError, .badFileDescriptor, .badFileDescriptor,
          ])
        let copied = copy.count
        #expect(copied == 1)
      }
      let released = canaries.released(expecting: 1)
      #expect(released == 1)
    }

    @Test func processDescriptorIsTakenApart() {
      var canaries = Canaries(2)
      var control = RawControl()
      control.addRights([rawNumber(canaries.writers.takeFirst()!)])
      control.add(
        level: 1, type: 4, payload: littleEndian(rawNumber(canaries.writers.takeFirst()!)))
      control.add(
        level: 1, type: 2,
        payload: littleEndian(Int32(7)) + littleEndian(UInt32(8)) + littleEndian(UInt32(9)))
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        var received = unsafe ReceivedAncillary(takingFrom: buffer)
        #expect(received.descriptors.count == 1)
        #expect(received.credentials == Credentials(processID: 7, userID: 8, groupID: 9))
        let isOwned = if case .success? = received.process.take() { true } else { false }
        #expect(isOwned)
      }
      let released = canaries.released(expecting: 2)
      #expect(released == 2)
    }

    @Test func everyExtraProcessDescriptorIsClosed() {
      var canaries = Canaries(2)
      var control = RawControl()
      let first = rawNumber(canaries.writers.takeFirst()!)
      for number in [first, rawNumber(canaries.writers.takeFirst()!)] {
        control.add(level: 1, type: 4, payload: littleEndian(number))
      }
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        var received = unsafe ReceivedAncillary(takingFrom: buffer)
        let released = canaries.released(expecting: 1)
        #expect(released == 1)
        // The first of them is kept.
        var taken: Int32 = -1
        if case .success(let process) = received.process.take() {
          taken = process.withUnsafeFileDescriptor { $0.rawValue }
        }
        #expect(taken == first)
      }
      let released = canaries.released(expecting: 2)
      #expect(released == 2)
    }

    @Test func processErrorIsNotADescriptor() {
      var control = RawControl()
      control.add(level: 1, type: 4, payload: littleEndian(Int32(-3)))
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        var received = unsafe ReceivedAncillary(takingFrom: buffer)
        var errno: Errno?
        if case .failure(let cause)? = received.process.take() { errno = cause }
        #expect(errno == .noSuchProcess)
      }
    }

    /// If the payload's length is not a multiple of four, whole slots are adopted and the remaining
    /// bytes ignored.
    @Test func oddLengths() {
      var canaries = Canaries(1)
      var control = RawControl()
      control.add(
        level: 1, type: 1,
        payload: littleEndian(rawNumber(canaries.writers.takeFirst()!)) + [0, 0, 0])
      unsafe control.bytes.withUnsafeMutableBytes { buffer in
        let descriptors = unsafe OwnedFds(adoptingRightsIn: buffer)
        #expect(descriptors.count == 1)
      }
      let released = canaries.released(expecting: 1)
      #expect(released == 1)
    }

    @Test func reservedCapacityIsReused() {
      var descriptors = OwnedFds()
      descriptors.reserveCapacity(253)
      let capacity = descriptors.capacity
      for _ in 0..<3 {
        var canaries = Canaries(253)
        var control = RawControl()
        var numbers: [Int32] = []
        while let writer = canaries.writers.takeFirst() { numbers.append(rawNumber(writer)) }
        control.addRights(numbers)
        let adopted = unsafe control.bytes.withUnsafeMutableBytes {
          unsafe descriptors.adopt(rightsIn: $0)
        }
        #expect(adopted == 253)
        #expect(descriptors.capacity == capacity)
        descriptors.closeAll()
        let released = canaries.released(expecting: 253)
        #expect(released == 253)
      }
    }
  }
}
