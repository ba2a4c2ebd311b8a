// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets

/// Prints which kinds of vsock sockets carry messages of this process to itself, by the loopback
/// transport.
func sendOverVsock() async throws {
  var kinds = ["stream"]
  try await fillAndEmpty(VsockStream.self)
  do {
    try await fillAndEmpty(VsockSeqpacket.self)
    kinds.append("seqpacket")
  } catch let error as SocketError where error.code == .notSupported {}
  print("vsock: \(kinds.joined(separator: " and "))")
}

/// Sends more than a receiver's buffer holds before the receiver begins.
private func fillAndEmpty<Connection: VsockConnection>(_: Connection.Type) async throws {
  let listener = try VsockListener<Connection>.bind(
    to: VsockAddress(.any, port: VsockAddress.anyPort))
  let settings = [SocketSetting(.vsockConnectTimeout, VsockConnectTimeout(.seconds(1)))]
  let left = try await Connection.connect(
    to: VsockAddress(.local, port: listener.address.port), settings: settings)
  let right = try await listener.accept()
  var payload = [UInt8](repeating: 0, count: 50_000)
  for place in stride(from: 0, to: payload.count, by: 61) {
    payload[place] = UInt8(truncatingIfNeeded: place / 61)
  }
  var expected: [UInt8] = []
  for _ in 0..<12 { expected += payload }
  let sending = Task(executorPreference: left.loop.taskExecutor) { [payload] in
    for _ in 0..<12 { try await left.sendMessage(payload) }
    try await left.shutdown(.sending)
  }
  // The sends wait for room by now.
  for _ in 0..<100 { _ = await left.loop.statistics }
  var received: [UInt8] = []
  for try await message in right.messages {
    if Connection.kind == .seqpacket, message.payload != payload { fatalError("a broken message") }
    received += message.payload
  }
  try await sending.value
  guard received == expected else { fatalError("\(Connection.self): not what was sent") }
  await left.close()
  await right.close()
  await listener.close()
}

func echoOverVsock<Connection: VsockConnection>(_: Connection.Type) async throws {
  let listener = try VsockListener<Connection>.bind(
    to: VsockAddress(.any, port: VsockAddress.anyPort))
  print(listener.address.port)
  fflush(nil)
  try await listener.serve { connection in
    for try await message in connection.messages {
      try await connection.sendMessage(message.payload)
    }
  }
}
