// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import Testing

@Suite struct OptionsTests {
  @Test func linuxNumbersEqualTheHeaders() {
    let linux = MessageFlagNumbers.linux
    let pairs = [
      (linux.outOfBand, MSG_OOB), (linux.peek, MSG_PEEK), (linux.doNotRoute, MSG_DONTROUTE),
      (linux.controlTruncated, MSG_CTRUNC),
      (linux.truncated, MSG_TRUNC), (linux.doNotWait, MSG_DONTWAIT), (linux.endOfRecord, MSG_EOR),
      (linux.waitForAll, MSG_WAITALL),
      (linux.confirm, MSG_CONFIRM), (linux.errorQueue, MSG_ERRQUEUE), (linux.more, MSG_MORE),
      (linux.noSignal, MSG_NOSIGNAL),
      (linux.closeOnExec, MSG_CMSG_CLOEXEC),
    ]
    for (ours, theirs) in pairs { #expect(Int(ours) == Int(theirs)) }
    #expect(linux.endOfFile == 0)
    #expect(MessageFlagNumbers.current == linux)
  }

  @Test func numbersOfOtherSystems() {
    let freeBSD = MessageFlagNumbers.freeBSD
    #expect((freeBSD.endOfRecord, freeBSD.truncated, freeBSD.controlTruncated) == (0x8, 0x10, 0x20))
    #expect((freeBSD.waitForAll, freeBSD.doNotWait, freeBSD.endOfFile) == (0x40, 0x80, 0x100))
    #expect((freeBSD.noSignal, freeBSD.closeOnExec) == (0x20000, 0x40000))
    let macOS = MessageFlagNumbers.macOS
    #expect(
      (macOS.doNotRoute, macOS.endOfRecord, macOS.waitForAll, macOS.doNotWait) == (
        0x4, 0x8, 0x40, 0x80
      ))
    #expect((macOS.noSignal, macOS.closeOnExec) == (0x80000, 0))
  }

  @Test func noSignalIsAlwaysOn() {
    #expect(SendOptions().systemFlags == 0x4000)
    #expect(
      ([.endOfRecord, .outOfBand, .doNotRoute, .doNotWait, .confirm, .more] as SendOptions)
        .systemFlags == 0xC8C5)
    #expect(SendOptions(rawValue: 0x0400_0000).systemFlags == 0x0400_4000)
    #expect(SendOptions.endOfFile.isEmpty)
  }

  @Test func closeOnExecIsAlwaysOnAndNeverSeen() {
    #expect(ReceiveOptions().systemFlags == 0x4000_0000)
    #expect(
      ([.peek, .waitForAll, .outOfBand, .errorQueue, .fullLength, .doNotWait] as ReceiveOptions)
        .rawValue == 0x2163)
    #expect(ReceiveFlags(systemFlags: 0x4000_0000).isEmpty)
    #expect(ReceiveFlags(systemFlags: 0x4000_0028) == [.payloadTruncated, .controlTruncated])
    #expect(ReceiveFlags(systemFlags: 0x2081) == [.errorQueue, .endOfRecord, .outOfBand])
    #expect(ReceiveFlags(systemFlags: 0x10_0000).rawValue == 0x10_0000)
  }

  /// The C target asserts that the numbers equal the headers'; this checks the names.
  @Test func originsAndTimestampsAreNamedAsInTheHeaders() {
    let origins: [ExtendedError.Origin] = [
      .none, .local, .icmp, .icmp6, .timestamping, .zeroCopy, .transmitTime,
    ]
    #expect(origins.map(\.rawValue) == Array(0...6))
    let requests: [TimestampRequest] = [.sendHardware, .sendSoftware, .schedule, .acknowledge]
    #expect(requests.map(\.rawValue) == [1, 2, 1 << 8, 1 << 9])
  }

  @Test func sizesThatAreLimits() {
    #expect(OwnedFds.inlineCapacity == OwnedFds().capacity)
    #expect(UnixAddress.maximumPathLength == MemoryLayout.size(ofValue: sockaddr_un().sun_path))
    #expect(UnixAddress.maximumPortablePathLength == UnixAddress.maximumPathLength - 1)
    #expect(UnixAddress.maximumAbstractLength == UnixAddress.maximumPathLength - 1)
    #expect(UnixAddress.maximumByteCount == MemoryLayout<sockaddr_storage>.size)
    #expect(BSDCredentials.maximumGroups == 16)
  }
}
