// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import frames

@Suite(.timeLimit(.minutes(2))) struct FramesTests {
  /// Two processes of well-behaved clients, and one of each hostile kind.
  @Test func picturesAreWrittenAndHostileClientsRefused() throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
      "frames-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: directory) }
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("frames")
    process.arguments = ["demo", "--frames", "3", "--output", directory.path]
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(text)")
    #expect(text.contains("ok: 6 pictures mapped"))
    let files = try FileManager.default.contentsOfDirectory(atPath: directory.path)
    #expect(files.count >= 6)
  }

  /// Python's zlib decodes the file to the original pixels.
  @Test func aPictureIsAPNG() throws {
    let header = PictureHeader(width: 300, height: 100)
    let pixels = (0..<header.pixelsByteCount).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(
      "\(UUID().uuidString).png")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(PNG.encode(header, pixels: pixels.span)).write(to: file)
    let program = """
      import struct, sys, zlib
      data = open(sys.argv[1], "rb").read()
      assert data[:8] == b"\\x89PNG\\r\\n\\x1a\\n"
      place, chunks = 8, {}
      while place < len(data):
          size, = struct.unpack(">I", data[place:place + 4])
          body = data[place + 4:place + 8 + size]
          crc, = struct.unpack(">I", data[place + 8 + size:place + 12 + size])
          assert crc == zlib.crc32(body)
          chunks[body[:4]] = body[4:]
          place += 12 + size
      assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (300, 100, 8, 6, 0, 0, 0)
      rows = zlib.decompress(chunks[b"IDAT"])
      pixels = b"".join(rows[n * 1201 + 1:(n + 1) * 1201] for n in range(100))
      assert pixels == bytes(n * 7 % 256 for n in range(120000)) and chunks[b"IEND"] == b""
      """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", program, file.path]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test func headersThatLie() {
    #expect(throws: Refusal.self) { try PictureHeader(decoding: [1, 2, 3]) }
    #expect(throws: Refusal.self) { try PictureHeader(decoding: [UInt8](repeating: 0, count: 8)) }
    #expect(throws: Refusal.self) {
      try PictureHeader(decoding: [UInt8](repeating: 0xFF, count: 8))
    }
    let header = PictureHeader(width: 640, height: 480)
    let decoded = try? PictureHeader(decoding: header.encoded)
    #expect(decoded == header)
  }
}
