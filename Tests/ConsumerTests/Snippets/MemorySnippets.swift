// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SharedMemory
import Testing

/// The code examples in the documentation of shared memory.
@Suite struct MemorySnippets {
  @Test func sharedMemory() async throws {
    var lines: [String] = []
    func print(_ parts: Any...) { lines.append(parts.map { "\($0)" }.joined(separator: " ")) }
    // begin SharedMemory
    // The policy lets only memory files in that are sealed.
    let policy = ReceivePolicy(
      maximumDescriptorsPerMessage: 1, allowed: [.memoryFile(sealed: [.shrink, .write])])
    let (client, service) = try UnixSeqpacket.makePair()
    try await service.setReceivePolicy(policy)

    var pixels = try MutableMemory(byteCount: 640 * 480 * 4, name: "frame")
    var row = try pixels.elements(of: UInt32.self, count: 640)
    for column in row.indices { row[column] = 0xFF00_00FF }
    let frame = try pixels.sealed()
    try await client.sendMessage(Array("640 480".utf8), descriptor: frame.descriptor)

    if let message = try await service.receiveMessage(), let file = message.takeDescriptor() {
      let received = try SealedMemory(adopting: file, atMost: 64 << 20)
      print(try received.elements(of: UInt32.self).count, "pixels")
    }
    // end
    #expect(lines == ["307200 pixels"])
  }
}
