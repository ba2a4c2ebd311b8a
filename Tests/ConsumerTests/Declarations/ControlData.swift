// SPDX-License-Identifier: Apache-2.0
import MessageSockets

// Never run; see Sockets.swift.

private func addresses() throws {
  let unix = try UnixAddress(path: FilePath("/run/app.sock"))
  _ = (
    unix.kind == .path, unix.path, unix.nameBytes, UnixAddress("@app"), UnixAddress.autobind,
    UnixAddress.unnamed, unix.description
  )
  let v6 = InternetAddress(IPv6Address.loopback, port: 1, scopeID: 2)
  _ = (
    InternetAddress("[fe80::1%2]:80"), InternetAddress(IPv4Address(127, 0, 0, 1), port: 1), v6.host,
    v6.port, v6.scopeID
  )
  let any = AnySocketAddress(unix)
  _ = (any.family, any.unix, any.internet, any.bytes, try any.decode(as: UnixAddress.self))
}

private func controlMessages(_ message: ReceivedMessage, _ file: consuming OwnedFd) throws {
  var buffer = ControlMessageBuffer(
    capacity: ControlMessages.space(for: 12) + ControlMessages.space(forDescriptors: 2))
  buffer.append(SegmentSize(1200))
  buffer.append(TrafficClass(.v4, 2))
  buffer.append(HopLimit(.v6, 3))
  buffer.append(PacketInfoV4(interfaceIndex: 1))
  buffer.append(PacketInfoV6(interfaceIndex: 1))
  buffer.append(RoutingMark(1))
  buffer.append(TransmitTime(nanoseconds: 1))
  buffer.append(TimestampRequest([.sendSoftware, .acknowledge]))
  buffer.append(Password())
  let control = message.control
  let messages = control.messages
  try messages.forEach { found in
    if found.kind == .credentials { let _: Credentials? = try found.decode() }
    _ = (found.level, found.type, found.data.byteCount, found.isTruncated)
  }
  let _: Password? = try messages.first()

  var ancillary = AncillaryDataBuffer(capacity: 64)
  var files = OwnedFds()
  files.append(file)
  try ancillary.append(descriptors: files.span)
}

/// A kind that the user defines.
private struct Password: EncodableControlMessage, DecodableControlMessage {
  var kind: ControlMessageKind { ControlMessageKind(level: 1, type: 200) }
  var encodedByteCount: Int { 1 }
  @_lifetime(output: copy output) func encode(into output: inout OutputRawSpan) {
    output.append(7 as UInt8)
  }
  static func matches(_ kind: ControlMessageKind) -> Bool {
    kind == ControlMessageKind(level: 1, type: 200)
  }
  init() {}
  init(decoding message: borrowing ControlMessage) throws(AncillaryError) {
    guard message.data.byteCount == 1 else { throw AncillaryError(code: .malformedData) }
  }
}

private func descriptors(_ first: consuming OwnedFd) throws {
  let second = try first.duplicate()
  second.withUnsafeFileDescriptor { _ = $0.rawValue }
  let raw: FileDescriptor = second.release()
  _ = OwnedFd(adopting: raw)
  try first.close()
}

private func blocking(
  _ socket: borrowing BlockingSocket<UnixAddress>, _ files: borrowing OwnedFds,
  _ memory: inout MutableRawSpan
) throws {
  let payload: [UInt8] = [1]
  let _: Int = try socket.sendMessage(payload.span.bytes, descriptors: files.span)
  let received = try socket.receiveMessage(into: &memory, upTo: 4)
  _ = (
    received.byteCount, received.flags, received.descriptors.count, received.surplus,
    received.failures
  )
}
