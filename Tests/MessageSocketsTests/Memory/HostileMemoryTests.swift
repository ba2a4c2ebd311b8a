// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SharedMemory
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// A process that shrinks, grows and writes the memory files that it has sent, while we map, copy
  /// and refuse them (`Tests/Interop/hostile_memory.py`): for a second, or for HOSTILE_SECONDS.
  @Suite(
    .enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"),
    .timeLimit(.minutes(5)))
  struct HostileMemories {
    /// A `SIGBUS` would end the test process.
    @Test func filesThatChangeUnderUs() async throws {
      var counts: [String: Int] = [:]
      try await withMemoryOracle {
        try await withTemporaryPath { path in
          let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
          let seconds = getenv("HOSTILE_SECONDS").map { String(cString: $0) } ?? "1"
          let words = ["python3", ForeignPeer.script("hostile_memory.py"), path.string, seconds]
          try await ChildProcess.run(words) { _ in
            let hostile = try await listener.accept()
            try await hostile.setReceivePolicy(ReceivePolicy(maximumDescriptorsPerMessage: 1))
            while let message = try await hostile.receiveMessage() {
              let words = String(decoding: message.payload, as: UTF8.self).split(separator: " ")
              let byte = try #require(UInt8(words[1]))
              let answer = try await take(
                try message.requireDescriptor(), of: String(words[0]), filledWith: byte,
                from: hostile)
              counts["\(words[0]): \(answer)", default: 0] += 1
            }
            await hostile.close()
            await listener.close()
          }
        }
      }
      // All code paths were taken.
      let always = ["sealed: mapped", "holes: tooLarge", "empty: mapped", "pipe: notMemory"]
      let mostly = ["loose: copied", "future: copied", "shrinkable: copied", "writable: copied"]
      for outcome in always + mostly { #expect(counts[outcome, default: 0] > 0, "\(counts)") }
      // A file that is not sealed at first may be sealed when it is checked. There is no other
      // outcome.
      let seldom = mostly.map { $0.replacing("copied", with: "mapped") }
      #expect(Set(counts.keys).subtracting(always + mostly + seldom) == [], "\(counts)")
      if getenv("HOSTILE_SECONDS") != nil {
        print(
          counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
      }
    }

    /// Maps or copies a file, lets the peer shrink it, and reads each page.
    private func take(
      _ file: consuming OwnedFd, of kind: String, filledWith byte: UInt8,
      from hostile: UnixSeqpacket
    ) async throws -> String {
      let identity = file.identity
      do {
        let memory = try SealedMemory(adoptingOrCopying: file, atMost: 256 << 10)
        let isMapped = memory.descriptor.identity == identity
        let first = look(at: memory.bytes)
        try await hostile.sendMessage([1])
        #expect(try await hostile.receiveMessage()?.payload == Array("cut".utf8))
        // The bytes do not change, whatever the peer does.
        var changes = 0
        for _ in 0..<50 where look(at: memory.bytes) != first { changes += 1 }
        #expect(changes == 0)
        if kind == "sealed" {
          #expect(isMapped && memory.byteCount == 64 << 10)
          let expected = [UInt8](repeating: byte, count: 64 << 10)
          let isWhole = memory.bytes.withUnsafeBytes {
            memcmp($0.baseAddress!, expected, expected.count) == 0
          }
          #expect(isWhole)
        }
        return isMapped ? "mapped" : "copied"
      } catch let error as MemoryError {
        try await hostile.sendMessage([1])
        #expect(try await hostile.receiveMessage()?.payload == Array("cut".utf8))
        return "\(error.code)"
      }
    }

    /// Reads a byte of every page.
    private func look(at bytes: RawSpan) -> UInt64 {
      bytes.withUnsafeBytes { bytes in
        stride(from: 0, to: bytes.count, by: 4096).reduce(0) { ($0 &* 31) &+ UInt64(bytes[$1]) }
      }
    }
  }
}
