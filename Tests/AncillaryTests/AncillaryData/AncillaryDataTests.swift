// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

extension OpeningDescriptors {
  @Suite struct AncillaryDataTests {
    /// Fills control memory as a receive would.
    static func receive(_ control: RawControl, into data: inout AncillaryData) {
      let memory = unsafe data.unsafeBeginReceive()
      unsafe memory.copyBytes(from: control.bytes)
      unsafe data.unsafeEndReceive(byteCount: control.bytes.count)
    }

    @Test func buildsWithinItsMemory() throws {
      let canaries = Canaries(2)
      var memory = [UInt8](repeating: 0xDD, count: 56)
      var span = memory.mutableSpan
      var data = AncillaryData(unsafe span.mutableBytes)
      #expect(data.capacity == 56)
      try data.append(descriptors: canaries.writers.span)
      try data.append(Credentials(processID: 1, userID: 2, groupID: 3))
      let count = data.controlMessages.count
      #expect(count == 2)
      #expect(throws: AncillaryError(code: .noCapacity, actual: 24, limit: 0)) {
        try data.append(HopLimit(.v4, 1))
      }
      #expect(data.descriptors.count == 0)
    }

    @Test func tooManyDescriptors() {
      let canaries = Canaries(254)
      var memory = [UInt8](repeating: 0, count: 2048)
      var span = memory.mutableSpan
      var data = AncillaryData(unsafe span.mutableBytes)
      var buffer = AncillaryDataBuffer()
      var errors: [AncillaryError] = []
      do throws(AncillaryError) { try data.append(descriptors: canaries.writers.span) } catch {
        errors.append(error)
      }
      do throws(AncillaryError) { try buffer.append(descriptors: canaries.writers.span) } catch {
        errors.append(error)
      }
      #expect(
        errors
          == Array(
            repeating: AncillaryError(code: .tooManyDescriptors, actual: 254, limit: 253), count: 2)
      )
    }

    @Test func receivedDescriptorsAreOwnedAndTakenOnce() {
      var canaries = Canaries(3)
      var control = RawControl()
      control.addRights((0..<3).map { _ in rawNumber(canaries.writers.takeFirst()!) })
      var memory = [UInt8](repeating: 0, count: 256)
      do {
        var span = memory.mutableSpan
        var data = AncillaryData(unsafe span.mutableBytes)
        Self.receive(control, into: &data)
        #expect(data.descriptors.count == 3)
        let first = data.descriptors.takeFirst()
        #expect(data.descriptors.count == 2)
        let isOpen = first != nil
        #expect(isOpen)
        let scrubbed = data.controlMessages.first(of: .rights)?.data.array
        #expect(scrubbed == [UInt8](repeating: 0xFF, count: 12))
      }
      let released = canaries.released(expecting: 3)
      #expect(released == 3)
    }

    @Test func nextReceiveClosesWhatWasNotTaken() {
      var canaries = Canaries(2)
      var first = RawControl()
      first.addRights([rawNumber(canaries.writers.takeFirst()!)])
      var second = RawControl()
      second.addRights([rawNumber(canaries.writers.takeFirst()!)])
      var memory = [UInt8](repeating: 0, count: 256)
      var span = memory.mutableSpan
      var data = AncillaryData(unsafe span.mutableBytes)
      Self.receive(first, into: &data)
      Self.receive(second, into: &data)
      let one = canaries.released(expecting: 1)
      #expect(one == 1)
      data.removeAll()
      let both = canaries.released(expecting: 2)
      #expect(both == 2)
    }

    @Test func takenTogetherTheyOutliveTheData() {
      var canaries = Canaries(1)
      var control = RawControl()
      control.addRights([rawNumber(canaries.writers.takeFirst()!)])
      var taken: OwnedFds
      do {
        var memory = [UInt8](repeating: 0, count: 64)
        var span = memory.mutableSpan
        var data = AncillaryData(unsafe span.mutableBytes)
        Self.receive(control, into: &data)
        taken = data.takeDescriptors()
      }
      let released = canaries.released(expecting: 0)
      #expect(released == 0)
      #expect(taken.count == 1)
      taken.closeAll()
    }

    @Test func whatWasReceivedIsNotSent() throws {
      var control = RawControl()
      control.add(level: 1, type: 2, payload: [UInt8](repeating: 1, count: 12))
      var memory = [UInt8](repeating: 0, count: 64)
      var span = memory.mutableSpan
      var data = AncillaryData(unsafe span.mutableBytes)
      Self.receive(control, into: &data)
      #expect(
        data.credentials
          == Credentials(processID: 0x0101_0101, userID: 0x0101_0101, groupID: 0x0101_0101))
      let outgoing = unsafe data.withUnsafeOutgoingBytes { $0.count }
      #expect(outgoing == 0)
      try data.append(HopLimit(.v4, 1))
      let count = data.controlMessages.count
      #expect(count == 1)
    }

    /// A failed append changes nothing, not even after a receive.
    @Test func failedAppendKeepsWhatWasReceived() {
      var control = RawControl()
      control.add(level: 1, type: 9, payload: [1, 2, 3, 4])
      var memory = [UInt8](repeating: 0, count: 24)
      var span = memory.mutableSpan
      var data = AncillaryData(unsafe span.mutableBytes)
      Self.receive(control, into: &data)
      var code: AncillaryError.Code?
      do throws(AncillaryError) { try data.append(PacketInfoV6()) } catch { code = error.code }
      #expect(code == .noCapacity)
      let bytes = data.controlMessages.bytes.array
      #expect(bytes == control.bytes)
      let outgoing = unsafe data.withUnsafeOutgoingBytes { $0.count }
      #expect(outgoing == 0)
    }

    @Test func endWithoutBeginIsMisuse() async {
      await #expect(processExitsWith: .failure) {
        var data = AncillaryData()
        unsafe data.unsafeEndReceive(byteCount: 0)
      }
    }

    @Test func bufferGrowsAndHandsOver() throws {
      let canaries = Canaries(5)
      var buffer = AncillaryDataBuffer()
      #expect(buffer.capacity == 0)
      buffer.append(Credentials(processID: 1, userID: 2, groupID: 3))
      try buffer.append(descriptors: canaries.writers.span)
      withSpan([1, 2, 3]) { buffer.append(level: 9, type: 9, bytes: $0) }
      let count = buffer.controlMessages.count
      #expect(count == 3)
      do {
        let data = buffer.ancillaryData()
        let handedOver = data.controlMessages.count
        #expect(handedOver == 3)
      }
      let left = buffer.controlMessages.count
      #expect(left == 0)
      buffer.reserveExactCapacity(1000)
      #expect(buffer.capacity == 1000)
    }
  }
}
