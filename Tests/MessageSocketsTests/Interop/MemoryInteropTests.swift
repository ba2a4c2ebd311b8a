// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SharedMemory
import SystemPackage
import Testing

extension KernelTests {
  /// Memory shared with other programs in both directions: Python's mmap, and an X server's
  /// MIT-SHM.
  @Suite(
    .enabled(if: ForeignPeer.memory.isAvailable, "python3 or Xvfb is not installed"),
    .timeLimit(.minutes(1)))
  struct MemoryInterop {
    @Test func pythonMapsOursAndWeTakeItsOwn() async throws {
      try await withMemoryOracle {
        try await withTemporaryPath { path in
          let listener = try UnixListener<UnixSeqpacket>.bind(to: UnixAddress(path: path))
          try await ForeignPeer.memory.run([path.string]) { _ in
            let python = try await listener.accept()
            var memory = try MutableMemory(byteCount: 100_000)
            fill(&memory) { UInt8(truncatingIfNeeded: $0) }
            let sealed = try memory.sealed()
            let total = (0..<100_000).reduce(0) { $0 + $1 % 256 }
            try await python.sendMessage(Array("\(total)".utf8), descriptor: sealed.descriptor)

            for isSealed in [true, false, false] {
              let file = try #require(try await python.receiveMessage()).requireDescriptor()
              let identity = file.identity
              let received = try SealedMemory(adoptingOrCopying: file, atMost: 5000)
              let isMapped = received.descriptor.identity == identity
              #expect(isMapped == isSealed)
              #expect(received.byteCount == 5000)
              let isWhole = isFilled(received.bytes) { _ in 5 }
              #expect(isWhole)
            }
            await python.close()
          }
          await listener.close()
        }
      }
    }

    /// The server maps our sealed memory (ShmAttachFd) and draws from it. The drawing comes back in
    /// a segment of the server's (ShmCreateSegment), which is not sealed and is copied.
    @Test func anXServerDrawsFromOursAndAnswersInItsOwn() async throws {
      try await withMemoryOracle {
        try await withXServer { path in
          let display = try await XDisplay(at: path)
          let pixels = (0..<UInt32(32 * 32)).map { $0 &* 7919 & 0xFF_FFFF }
          var memory = try MutableMemory(byteCount: 32 * 32 * 4, name: "pixels")
          do {
            var words = try memory.elements(of: UInt32.self)
            for index in words.indices { words[index] = pixels[index] }
          }
          let sealed = try memory.sealed()
          let ours = try await display.attach(sealed.descriptor)
          let pixmap = try await display.makePixmap(width: 32, height: 32)
          try await display.put(ours, into: pixmap, width: 32, height: 32)
          #expect(try await display.image(of: pixmap, width: 32, height: 32) == pixels)

          let (theirs, file) = try await display.makeSegment(byteCount: 32 * 32 * 4)
          try await display.get(pixmap, into: theirs, width: 32, height: 32)
          let descriptor = try file.requireDescriptor()
          let refused = MemoryError.of(try descriptor.duplicate(), atMost: 1 << 20)
          #expect(refused?.code == .missingSeals || refused?.code == .notMemory)
          let copy = try SealedMemory(adoptingOrCopying: descriptor, atMost: 1 << 20)
          let words = try copy.elements(of: UInt32.self, count: 32 * 32)
          let isSame = words.indices.allSatisfy { words[$0] & 0xFF_FFFF == pixels[$0] }
          #expect(isSame)
          await display.close()
        }
      }
    }

    /// Runs a server with an in-memory screen, on a display that it chooses.
    private func withXServer(_ body: (String) async throws -> Void) async throws {
      let output = try OutputPipe()
      let server = try output.feed {
        try ChildProcess(
          ["Xvfb", "-displayfd", "1", "-screen", "0", "64x64x24", "-nolisten", "tcp"],
          descriptors: [1: $0])
      }
      let result: Result<Void, any Error>
      do {
        let number = try #require(Int(try output.readLine()), "Xvfb did not start")
        result = .success(try await body("/tmp/.X11-unix/X\(number)"))
      } catch {
        result = .failure(error)
      }
      server.terminate()
      _ = await server.end()
      try result.get()
    }
  }
}

extension KernelTests {
  /// Memory of a Wayland client (`wl_shm`), for which the test is the compositor.
  @Suite(
    .enabled(if: ForeignPeer.weston.isAvailable, "weston-simple-shm is not installed"),
    .timeLimit(.minutes(1)))
  struct WaylandInterop {
    /// The memory is at most sealed against shrinking, so it is copied; the client continues to
    /// paint.
    @Test func aWaylandClientsMemoryIsCopied() async throws {
      try await withMemoryOracle {
        try await withTemporaryPath { path in
          let listener = try UnixListener<UnixStream>.bind(to: UnixAddress(path: path))
          let client = try ChildProcess(
            ["weston-simple-shm"], environment: ["WAYLAND_DISPLAY": path.string])
          let result: Result<Void, any Error>
          do {
            let display = WaylandDisplay(try await listener.accept())
            let file = try await display.pool()
            #expect(display.poolByteCount > 4096)
            let refused = MemoryError.of(try file.duplicate(), atMost: 1 << 20)
            #expect(refused?.code == .missingSeals)
            #expect(refused?.missing.contains(.write) == true)
            let identity = file.identity
            let copy = try SealedMemory(adoptingOrCopying: file, atMost: 1 << 20)
            #expect(copy.byteCount == display.poolByteCount)
            #expect(copy.descriptor.identity != identity)
            // A frame in one colour with a picture inside.
            let pixels = try copy.elements(of: UInt32.self)
            let colours = Set(pixels.indices.map { pixels[$0] })
            #expect(pixels[0] == 0xFFFF_FFFF)
            #expect(colours.count > 10)
            await display.close()
            result = .success(())
          } catch { result = .failure(error) }
          client.terminate()
          _ = await client.end()
          await listener.close()
          try result.get()
        }
      }
    }
  }
}
