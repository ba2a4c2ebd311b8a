// SPDX-License-Identifier: Apache-2.0
import MessageSockets

// Never run: compiling it shows that everything a user writes exists, is public, and has these
// names.

private func anySocket<Socket: MessageSocket>(_ socket: Socket, _ memory: inout OutputRawSpan)
  async throws
{
  let options: SendOptions = [.endOfRecord, .doNotWait, .more, .confirm, .doNotRoute, .outOfBand]
  var control = ControlMessageBuffer()
  control.append(Credentials(processID: 1, userID: 2, groupID: 3))
  try await socket.sendMessage([1, 2, 3])
  try await socket.sendMessage([1, 2, 3], control: control, options: options)
  try await socket.sendMessage([1, 2, 3].span.bytes)
  try await socket.sendMessage([1, 2, 3], options: .finishOnceBegun, deadline: .now + .seconds(1))
  try await socket.sendMessage([1, 2, 3].span.bytes, control: control, deadline: .now)
  let header: [UInt8] = [1]
  var pieces = GatherBuffers(header.span.bytes)
  pieces.append(header.span.bytes)
  try await socket.sendMessage(pieces, control: control, options: options)

  let _: ReceivedMessage? = try await socket.receiveMessage()
  let _: ReceivedMessage? = try await socket.receiveMessage(deadline: .now + .seconds(1))
  let _: ReceivedMessage? = try await socket.receiveMessage(
    options: [.peek, .waitForAll, .errorQueue, .fullLength], deadline: .now)
  let _: [ReceivedMessage] = try await socket.receiveMessages(upTo: 16)
  if let parts = try await socket.receiveMessage(into: &memory) {
    _ = (
      parts.byteCount, parts.descriptors.count, parts.credentials, parts.control, parts.outcome,
      parts.flags, parts.sender, parts.timestamp
    )
  }
  if var parts = try await socket.receiveMessage(
    into: &memory, options: .peek, deadline: .now + .seconds(1))
  {
    _ = try parts.takeProcess()
  }
  for try await message in socket.messages { look(at: message) }
  for try await message in socket.messages(window: ReceiveWindow(messages: 4, descriptors: 253)) {
    look(at: message)
  }

  for try await message in socket.messages.untilDraining() { look(at: message) }
  try await socket.waitUntilDraining()
  if !socket.isDraining { socket.startDraining() }

  let _: IOLoop = socket.loop
  let _: OwnedFd = try await socket.duplicate()
  let _: SocketKind = socket.channel.kind
  let _: (AnySocketAddress?, AnySocketAddress?) = (
    try await socket.localAddress(), try await socket.peerAddress()
  )
  let _: Int = try await socket.option(.sendBufferSize)
  try await socket.setOption(.receiveBufferSize, to: 1 << 20)
  try await socket.setOption(.timestamps, to: true)
  try await socket.setOption(
    SocketOption<[UInt8]>(level: 1, name: 13), to: [0, 0, 0, 0, 0, 0, 0, 0])
  try await socket.shutdown(.sending)
  try await socket.shutdown(.receiving)
  try await socket.shutdown(.both)
  let _: OwnedFd = try await socket.release()
  await socket.close()
}

/// A payload type that the user defines.
private struct Line: MessagePayload {
  let bytes: [UInt8]
  var payloadBytes: PayloadBytes { @_lifetime(borrow self) borrowing get { bytes.payloadBytes } }
}

private func payloads(_ socket: some UnixSocket, _ file: borrowing OwnedFd) async throws {
  try await socket.sendMessage(Array("text".utf8))
  try await socket.sendMessage(Line(bytes: [1]), descriptor: file)
  let bytes: [UInt8] = [1, 2, 3]
  try await socket.sendMessage(bytes[1...], descriptor: file)
  try await socket.sendMessage(bytes.span)
}

private func look(at message: ReceivedMessage) {
  let _: ([UInt8], Int, Int, ReceiveFlags) = (
    message.payload, message.byteCount, message.descriptorCount, message.flags
  )
  let _: (Credentials?, AnySocketAddress?) = (message.credentials, message.sender)
  let outcome: DeliveryStatus = message.outcome
  let _: (Bool, Bool, [DescriptorFailure]) = (
    outcome.isPayloadTruncated, outcome.isControlTruncated, outcome.failures
  )
  _ = outcome == .complete
  let _: (SecurityLabel?, Timestamp?, PacketTimestamps?) = (
    message.securityLabel, message.timestamp, message.packetTimestamps
  )
  let _: (PacketInfoV4?, PacketInfoV6?, HopLimit?, TrafficClass?) =
    (message.packetInfoV4, message.packetInfoV6, message.hopLimit, message.trafficClass)
  let _: (Int?, Int?, Int?) = (message.bytesLeft, message.droppedMessages, message.segmentSize)
  let _: (ExtendedError?, OriginalDestination?) = (
    message.extendedError, message.originalDestination
  )
  for stored in message.control { _ = (stored.kind, stored.isTruncated) }
  while let descriptor = message.takeDescriptor() { try? descriptor.close() }
  var all = message.takeDescriptors()
  _ = all.takeLast()
  _ = all.takeFirst()
  do throws(Errno) {
    if let process = try message.takeProcess() {
      process.withUnsafeFileDescriptor { _ = $0.rawValue }
    }
  } catch { _ = error }
}

private func unixSocket(_ socket: some UnixSocket, _ file: consuming OwnedFd) async throws {
  try await socket.sendMessage([1], descriptor: file)
  var files = OwnedFds()
  files.append(file)
  let header: [UInt8] = [1]
  try await socket.sendMessage(header, descriptors: files.span)
  try await socket.sendMessage(header.span.bytes, descriptors: files.span)
  try await socket.sendMessage(header, descriptors: files.span, deadline: .now)
  try await socket.sendMessage(header.span.bytes, descriptors: files.span, deadline: .now)
  try await socket.sendMessage(header, descriptor: try await socket.duplicate(), deadline: .now)
  try await socket.sendMessage(GatherBuffers(header.span.bytes), descriptors: files.span)
  try await socket.sendMessage(header, descriptors: OwnedFds(duplicating: [.standardInput]).span)
}

private func connection<Connection: UnixConnection>(
  _: Connection.Type, _ descriptor: consuming OwnedFd, on loop: IOLoop
) async throws {
  let _: (Connection, Connection) = try Connection.makePair()
  let _: (Connection, Connection) = try Connection.makePair(on: loop)
  let _: Connection = try await .connect(to: UnixAddress(path: "/run/app.sock"), on: loop)
  let _: Connection = try Connection(adopting: descriptor, on: loop)
}

private func stream(_ stream: some StreamSocket) async throws {
  var iterator = stream.bytes.makeAsyncIterator()
  let _: UInt8? = try await iterator.next(isolation: #isolation)
  for try await byte in stream.bytes { _ = byte }
  for try await byte in stream.bytes.untilDraining() { _ = byte }
}

private func datagram<Socket: DatagramSocket>(_ socket: Socket, to address: Socket.Address)
  async throws
{
  try await socket.connect(to: address)
  let header: [UInt8] = [1]
  try await socket.sendMessage(header, to: address)
  try await socket.sendMessage(header.span.bytes, to: address)
  try await socket.sendMessage(GatherBuffers(header.span.bytes), to: address)
}

private func unixDatagram(_ file: consuming OwnedFd, on loop: IOLoop) async throws {
  let address = try UnixAddress(path: "/run/app.sock")
  let socket = try UnixDatagram.bind(
    to: address, binding: UnixBinding(permissions: .ownerReadWrite), on: loop)
  let _: (UnixDatagram, UnixDatagram) = try UnixDatagram.makePair(on: loop)
  try await socket.sendMessage([1], descriptor: file, to: address)
  _ = try (UnixDatagram(), UnixDatagram(adopting: file))
}

private func internet(_ first: consuming OwnedFd, _ second: consuming OwnedFd, on loop: IOLoop)
  async throws
{
  let _: TCPStream = try await .connect(to: InternetAddress(.loopback, port: 80), on: loop)
  let _: TCPStream = try TCPStream(adopting: first, on: loop)
  let _: UDPSocket = try UDPSocket.bind(
    to: InternetAddress(IPv6Address.any, port: 53, scopeID: 2), on: loop)
  let _: UDPSocket = try UDPSocket(adopting: second, on: loop)
}

private func vsock<Connection: VsockConnection>(
  _: Connection.Type, _ descriptor: consuming OwnedFd, _ file: consuming OwnedFd, on loop: IOLoop,
  over group: IOLoopGroup
) async throws {
  let settings = [
    SocketSetting(.vsockMaximumBufferSize, 1 << 20), SocketSetting(.vsockBufferSize, 1 << 20),
    SocketSetting(.vsockConnectTimeout, VsockConnectTimeout(.seconds(1))),
  ]
  let connection: Connection = try await .connect(
    to: VsockAddress(.host, port: 1024), settings: settings, on: loop)
  let _: VsockContextID = try await connection.peerContext()
  let _: VsockContextID = try VsockContextID.ofThisMachine()
  let _: Connection = try Connection(adopting: descriptor, on: loop)
  let listener: VsockListener<Connection> = try .bind(
    to: VsockAddress(.any, port: VsockAddress.anyPort), backlog: 16,
    authorization: .contexts([.host, VsockContextID(rawValue: 3)]), settings: settings, on: loop,
    connectionsOn: group)
  let _: VsockAddress = listener.address
  let _: VsockListener<Connection> = try VsockListener(adopting: file, on: loop)
  let _: VsockContextID? = PeerIdentity(processID: nil, userID: nil, groupID: nil).contextID
}
