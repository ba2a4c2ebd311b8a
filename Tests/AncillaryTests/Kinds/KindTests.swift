// SPDX-License-Identifier: Apache-2.0
import Ancillary
import SystemPackage
import Testing

/// Tests each kind with bytes written by hand, in the layout of a 64-bit little-endian kernel.
@Suite struct KindTests {
  /// Decodes one message with this payload.
  static func decode<T: DecodableControlMessage>(
    _ type: T.Type, _ kind: ControlMessageKind, _ payload: [UInt8]
  ) throws(AncillaryError) -> T? {
    var control = RawControl()
    control.add(level: kind.level, type: kind.type, payload: payload)
    return try withSpan(control.bytes) { (span) throws(AncillaryError) in
      try ControlMessages(span).first(type)
    }
  }

  /// The payload that the value encodes.
  static func encode(_ value: some EncodableControlMessage) -> [UInt8] {
    var buffer = ControlMessageBuffer()
    buffer.append(value)
    return WalkerTests.Walk(buffer.bytes).payloads[0]
  }

  @Test func numbersOfTheKinds() {
    let kinds: [(ControlMessageKind, Int32, Int32)] = [
      (.rights, 1, 1), (.credentials, 1, 2), (.securityLabel, 1, 3), (.processDescriptor, 1, 4),
      (.timestamp, 1, 29), (.timestampNanoseconds, 1, 35), (.routingMark, 1, 36),
      (.packetTimestamps, 1, 37),
      (.droppedMessageCount, 1, 40), (.transmitTime, 1, 61), (.timestampWide, 1, 63),
      (.timestampNanosecondsWide, 1, 64),
      (.packetTimestampsWide, 1, 65), (.queuedByteCount, 1, 84), (.queuedByteCountTCP, 6, 36),
      (.trafficClassV4, 0, 1), (.hopLimitV4, 0, 2), (.packetInfoV4, 0, 8),
      (.extendedErrorV4, 0, 11),
      (.originalDestinationV4, 0, 20), (.extendedErrorV6, 41, 25), (.packetInfoV6, 41, 50),
      (.hopLimitV6, 41, 52),
      (.trafficClassV6, 41, 67), (.originalDestinationV6, 41, 74), (.segmentSize, 17, 103),
      (.coalescedSegmentSize, 17, 104),
      (.bsdCredentials, 0xFFFF, 3),
    ]
    for (kind, level, type) in kinds {
      #expect(kind == ControlMessageKind(level: level, type: type))
    }
    #expect(Set(kinds.map(\.0)).count == kinds.count)
  }

  @Test func securityLabels() throws {
    let label = try Self.decode(
      SecurityLabel.self, .securityLabel, Array("user_u:role_r".utf8) + [0])
    #expect(label?.text == "user_u:role_r")
    #expect(try Self.decode(SecurityLabel.self, .securityLabel, [])?.bytes == [])
  }

  @Test func truncatedLabelIsNotBelieved() {
    withSpan(Array("user_u:role_r".utf8)) { data in
      let message = ControlMessage(kind: .securityLabel, data: data, isTruncated: true)
      #expect(throws: AncillaryError(code: .malformedData, actual: 13)) {
        _ = try SecurityLabel(decoding: message)
      }
    }
  }

  @Test func timestamps() throws {
    let pair = littleEndian(Int64(1_700_000_000)) + littleEndian(Int64(123_456))
    for kind in [ControlMessageKind.timestamp, .timestampWide] {
      let time = try #require(try Self.decode(Timestamp.self, kind, pair))
      #expect(time == Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_000))
      #expect(time.sinceEpoch == .seconds(1_700_000_000) + .microseconds(123_456))
    }
    for kind in [ControlMessageKind.timestampNanoseconds, .timestampNanosecondsWide] {
      #expect(
        try Self.decode(Timestamp.self, kind, pair)
          == Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456))
    }
    let wild = littleEndian(Int64.min) + littleEndian(Int64.max)
    #expect(try Self.decode(Timestamp.self, .timestamp, wild) != nil)
  }

  @Test func packetTimestamps() throws {
    let none = [UInt8](repeating: 0, count: 16)
    let time = littleEndian(Int64(5)) + littleEndian(Int64(6))
    for kind in [ControlMessageKind.packetTimestamps, .packetTimestampsWide] {
      let software = try Self.decode(PacketTimestamps.self, kind, time + none + none)
      #expect(
        software == PacketTimestamps(software: Timestamp(seconds: 5, nanoseconds: 6), hardware: nil)
      )
      let hardware = try Self.decode(PacketTimestamps.self, kind, none + none + time)
      #expect(
        hardware == PacketTimestamps(software: nil, hardware: Timestamp(seconds: 5, nanoseconds: 6))
      )
    }
    #expect(Self.encode([.sendSoftware, .acknowledge] as TimestampRequest) == [0x02, 0x02, 0, 0])
  }

  @Test func counts() throws {
    #expect(
      try Self.decode(QueuedByteCount.self, .queuedByteCount, [0, 1, 0, 0]) == QueuedByteCount(256))
    #expect(
      try Self.decode(QueuedByteCount.self, .queuedByteCountTCP, [7, 0, 0, 0]) == QueuedByteCount(7)
    )
    #expect(
      try Self.decode(DroppedMessageCount.self, .droppedMessageCount, [0xFF, 0xFF, 0xFF, 0xFF])?
        .value == .max)
  }

  @Test func marksAndTimes() throws {
    #expect(Self.encode(RoutingMark(0x0102_0304)) == [4, 3, 2, 1])
    #expect(
      try Self.decode(RoutingMark.self, .routingMark, [4, 3, 2, 1]) == RoutingMark(0x0102_0304))
    #expect(Self.encode(TransmitTime(nanoseconds: 1 << 40)) == [0, 0, 0, 0, 0, 1, 0, 0])
  }

  @Test func packetInfoBothWays() throws {
    let four = PacketInfoV4(
      interfaceIndex: 2, localAddress: IPv4Address(10, 0, 0, 1),
      destination: IPv4Address(224, 0, 0, 5))
    #expect(Self.encode(four) == [2, 0, 0, 0, 10, 0, 0, 1, 224, 0, 0, 5])
    #expect(try Self.decode(PacketInfoV4.self, .packetInfoV4, Self.encode(four)) == four)
    let six = PacketInfoV6(address: .loopback, interfaceIndex: 3)
    #expect(Self.encode(six) == [UInt8](repeating: 0, count: 15) + [1, 3, 0, 0, 0])
    #expect(try Self.decode(PacketInfoV6.self, .packetInfoV6, Self.encode(six)) == six)
  }

  @Test func hopLimitsBothWays() throws {
    #expect(Self.encode(HopLimit(.v4, 64)) == [64, 0, 0, 0])
    #expect(try Self.decode(HopLimit.self, .hopLimitV4, [64, 0, 0, 0]) == HopLimit(.v4, 64))
    #expect(Self.encode(HopLimit(.v6, -1)) == [0xFF, 0xFF, 0xFF, 0xFF])
    #expect(try Self.decode(HopLimit.self, .hopLimitV6, [1, 0, 0, 0]) == HopLimit(.v6, 1))
  }

  @Test func trafficClassAndCongestion() throws {
    let short = try #require(try Self.decode(TrafficClass.self, .trafficClassV4, [0xBB]))
    #expect(short == TrafficClass(.v4, 0xBB))
    #expect(short.congestion == .experienced)
    #expect(short.differentiatedServices == 46)
    #expect(
      try Self.decode(TrafficClass.self, .trafficClassV6, [0xBA, 0, 0, 0])?.congestion == .capable0)
    var built = TrafficClass(.v6, 0)
    built.differentiatedServices = 46
    built.congestion = .capable1
    #expect(Self.encode(built) == [0xB9, 0, 0, 0])
    #expect(throws: AncillaryError.self) {
      try Self.decode(TrafficClass.self, .trafficClassV4, [1, 2])
    }
  }

  @Test func segmentSizes() throws {
    #expect(Self.encode(SegmentSize(1400)) == [0x78, 0x05])
    #expect(
      try Self.decode(CoalescedSegmentSize.self, .coalescedSegmentSize, [0x78, 5, 0, 0])?.value
        == 1400)
    #expect(
      try Self.decode(CoalescedSegmentSize.self, .coalescedSegmentSize, [0x78, 5])?.value == 1400)
  }

  @Test func extendedErrors() throws {
    let error: [UInt8] =
      littleEndian(Int32(111)) + [2, 3, 3, 0] + littleEndian(UInt32(9)) + littleEndian(UInt32(8))
    let offender: [UInt8] = [2, 0, 0, 0, 127, 0, 0, 1] + [UInt8](repeating: 0, count: 8)
    let four = try #require(try Self.decode(ExtendedError.self, .extendedErrorV4, error + offender))
    #expect(four.errno == .connectionRefused)
    #expect(four.origin == .icmp)
    #expect((four.type, four.code, four.info, four.data) == (3, 3, 9, 8))
    #expect(four.offender == InternetAddress(.loopback, port: 0))
    #expect(four.version == .v4)
    let none = try #require(try Self.decode(ExtendedError.self, .extendedErrorV6, error + [0, 0]))
    #expect(none.offender == nil)
    #expect(none.version == .v6)
    #expect(throws: AncillaryError(code: .malformedData, actual: 15, limit: 16)) {
      try Self.decode(ExtendedError.self, .extendedErrorV4, Array(error.dropLast()))
    }
  }

  @Test func originalDestinations() throws {
    let four: [UInt8] = [2, 0, 0x1F, 0x90, 192, 0, 2, 7] + [UInt8](repeating: 0, count: 8)
    #expect(
      try Self.decode(OriginalDestination.self, .originalDestinationV4, four)?.address
        == InternetAddress(IPv4Address(192, 0, 2, 7), port: 8080))
    #expect(throws: AncillaryError(code: .malformedAddress, actual: 12, limit: 16)) {
      try Self.decode(OriginalDestination.self, .originalDestinationV4, Array(four.prefix(12)))
    }
  }

  @Test func bsdCredentialsBothWays() throws {
    let credentials = BSDCredentials(
      processID: 1, userID: 2, effectiveUserID: 3, groupID: 4, groups: [5, 6])
    let bytes = Self.encode(credentials)
    #expect(
      bytes == [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]
        + [UInt8](repeating: 0, count: 56))
    #expect(try Self.decode(BSDCredentials.self, .bsdCredentials, bytes) == credentials)
    for count in [-1, 17, Int16.max] {
      var bad = bytes
      bad.replaceSubrange(16..<18, with: littleEndian(Int16(count)))
      #expect(throws: AncillaryError(code: .malformedData, actual: Int(count), limit: 16)) {
        try Self.decode(BSDCredentials.self, .bsdCredentials, bad)
      }
    }
  }

  @Test func wrongKindIsNotDecoded() throws {
    #expect(try Self.decode(HopLimit.self, .trafficClassV4, [1, 0, 0, 0]) == nil)
    withSpan([1, 0, 0, 0]) { data in
      let message = ControlMessage(level: 9, type: 9, data: data)
      #expect(throws: AncillaryError(code: .wrongKind)) { _ = try HopLimit(decoding: message) }
    }
  }

  /// Any payload with any kind gives an error or a value, never a trap.
  @Test func anyPayload() {
    var generator = SeededGenerator(seed: 17)
    let kinds: [ControlMessageKind] = [
      .credentials, .securityLabel, .timestamp, .timestampNanosecondsWide, .packetTimestamps,
      .droppedMessageCount,
      .queuedByteCount, .packetInfoV4, .packetInfoV6, .hopLimitV6, .trafficClassV4,
      .coalescedSegmentSize,
      .extendedErrorV4,
      .extendedErrorV6, .originalDestinationV6, .bsdCredentials, .routingMark,
    ]
    for _ in 0..<5000 {
      let payload = (0..<Int.random(in: 0...90, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
      let kind = kinds.randomElement(using: &generator)!
      withSpan(payload) { data in
        let message = ControlMessage(kind: kind, data: data)
        _ = try? message.decode(as: Credentials.self)
        _ = try? message.decode(as: SecurityLabel.self)
        _ = try? message.decode(as: Timestamp.self)?.sinceEpoch
        _ = try? message.decode(as: PacketTimestamps.self)
        _ = try? message.decode(as: DroppedMessageCount.self)
        _ = try? message.decode(as: QueuedByteCount.self)
        _ = try? message.decode(as: PacketInfoV4.self)
        _ = try? message.decode(as: PacketInfoV6.self)
        _ = try? message.decode(as: HopLimit.self)
        _ = try? message.decode(as: TrafficClass.self)
        _ = try? message.decode(as: CoalescedSegmentSize.self)
        _ = try? message.decode(as: ExtendedError.self)
        _ = try? message.decode(as: OriginalDestination.self)
        _ = try? message.decode(as: BSDCredentials.self)
        _ = try? message.decode(as: RoutingMark.self)
      }
    }
  }

  /// A kind that a third party defines.
  struct Sequence: DecodableControlMessage, EncodableControlMessage, Equatable {
    var value: UInt16
    var kind: ControlMessageKind { ControlMessageKind(level: 263, type: 1) }
    var encodedByteCount: Int { 2 }
    static func matches(_ kind: ControlMessageKind) -> Bool { kind.level == 263 }
    init(value: UInt16) { self.value = value }
    init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
      guard message.data.byteCount == 2 else {
        throw AncillaryError(code: .malformedData, actual: message.data.byteCount, limit: 2)
      }
      value = message.data.loadBigEndian(at: 0)
    }
    @_lifetime(output: copy output)
    func encode(into output: inout OutputRawSpan) { output.append(bigEndian: value) }
  }

  @Test func thirdPartyKinds() throws {
    #expect(Self.encode(Sequence(value: 0x0102)) == [1, 2])
    #expect(
      try Self.decode(Sequence.self, ControlMessageKind(level: 263, type: 1), [1, 2])
        == Sequence(value: 0x0102))
  }
}
