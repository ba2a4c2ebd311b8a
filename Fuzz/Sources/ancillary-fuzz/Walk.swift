// SPDX-License-Identifier: Apache-2.0
import Ancillary

/// Walks the bytes, decodes every message as every kind, and encodes them again.
func walk(_ bytes: RawSpan) {
  let messages = ControlMessages(bytes)
  var iterator = messages.makeIterator()
  var copy = ControlMessageBuffer()
  var count = 0
  var payload = 0
  while let message = iterator.next() {
    count += 1
    payload += message.data.byteCount
    decode(message)
    copy.append(message)
  }
  check(messages.count == count, "the number of messages depends on who counts")
  check(messages.isEmpty == (count == 0), "isEmpty and count disagree")
  check(
    payload + iterator.remainder.byteCount + 16 * count <= bytes.byteCount,
    "more payload than bytes")

  var again = copy.messages.makeIterator()
  var first = messages.makeIterator()
  while let message = again.next() {
    guard let original = first.next() else { return check(false, "a message appeared") }
    check(
      message.kind == original.kind && message.data.byteCount == original.data.byteCount,
      "a message changed")
    check(!message.isTruncated, "a written message is truncated")
  }
  check(first.next() == nil && again.remainder.isEmpty, "a message was lost")
}

/// Decodes a message as every kind, and encodes the result.
func decode(_ message: borrowing ControlMessage) {
  roundTrip(Credentials.self, message)
  roundTrip(PacketInfoV4.self, message)
  roundTrip(PacketInfoV6.self, message)
  roundTrip(HopLimit.self, message)
  roundTrip(TrafficClass.self, message)
  roundTrip(RoutingMark.self, message)
  roundTrip(BSDCredentials.self, message)
  if message.data.byteCount >= 8 {
    encode(TransmitTime(nanoseconds: message.data.load(at: 0)), 8)
    encode(SegmentSize(message.data.load(at: 0)), 2)
    encode(TimestampRequest(rawValue: message.data.load(at: 0)), 4)
  }
  _ = try? message.decode(as: SecurityLabel.self)?.text
  _ = try? message.decode(as: Timestamp.self)?.sinceEpoch
  _ = try? message.decode(as: PacketTimestamps.self)
  _ = try? message.decode(as: DroppedMessageCount.self)
  _ = try? message.decode(as: QueuedByteCount.self)
  _ = try? message.decode(as: CoalescedSegmentSize.self)
  _ = try? message.decode(as: OriginalDestination.self)?.address.description
  _ = try? message.decode(as: ExtendedError.self)?.offender?.description
}

/// Checks that a send-only kind has its stated length.
private func encode(_ value: some EncodableControlMessage, _ byteCount: Int) {
  var buffer = ControlMessageBuffer()
  buffer.append(value)
  let length = buffer.messages.first(of: value.kind)?.data.byteCount
  check(
    length == byteCount && buffer.byteCount == value.space,
    "a value has another length than it says")
}

/// Checks that a decoded value is unchanged after it is encoded and decoded again.
private func roundTrip<T: DecodableControlMessage & EncodableControlMessage & Equatable>(
  _ type: T.Type, _ message: borrowing ControlMessage
) {
  guard let value = try? message.decode(as: type) else { return }
  var buffer = ControlMessageBuffer()
  buffer.append(value)
  let again = try? buffer.messages.first(type)
  check(again == value, "a value changed on its way through bytes")
}
