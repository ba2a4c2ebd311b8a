// SPDX-License-Identifier: Apache-2.0
import MessageFraming
import MessageSockets
import Testing

/// Compares the decoder with a model that sees the whole stream, for every way in which the kernel
/// may split it, and with descriptors in every position.
@Suite struct FrameDecoderTests {
  /// Every split of the bytes into receives, each with and without a descriptor.
  @Test(arguments: [["ab", "", "c"], ["", "", "", ""], ["abcdefg"], ["a", "b", "c", "de"]])
  func everySplitAndEveryPlaceOfDescriptors(payloads: [String]) {
    let stream = Stream(terminated: payloads)
    var checked = 0
    for cuts in 0..<1 << (stream.bytes.count - 1) {
      let receives = stream.receives(cutAt: cuts)
      for carriers in 0..<1 << receives.count {
        stream.expect(receives, carriers: carriers)
        checked += 1
      }
    }
    #expect(checked == 2 * pow3(stream.bytes.count - 1))
  }

  /// The bytes of a header may arrive one by one. Up to three cuts, and each receive with and
  /// without a descriptor.
  @Test(arguments: [[0, 0], [0, 1], [1, 0], [1, 1]])
  func everySplitOfHeaders(descriptorCounts: [Int]) {
    let stream = Stream(prefixed: [
      ("a", .request, descriptorCounts[0]), ("", .message, descriptorCounts[1]),
    ])
    let places = stream.bytes.count - 1
    for first in 0..<places {
      for second in first..<places {
        for third in second..<places {
          let receives = stream.receives(cutAt: 1 << first | 1 << second | 1 << third)
          for carriers in 0..<1 << receives.count { stream.expect(receives, carriers: carriers) }
        }
      }
    }
    stream.expect(stream.receives(cutAt: .max), carriers: 0)
  }

  /// The kernel puts plain bytes in front of those with descriptors, and stops after them.
  @Test func whatTheKernelMerges() throws {
    var decoder = FrameDecoder<Int>(format: .zeroTerminated())
    decoder.append(Array("A\0B\0".utf8), (1, count: 1))
    #expect(try decoder.next()?.attachment == nil)
    #expect(try decoder.next()?.attachment == 1)
    #expect(try decoder.next() == nil)
    // The first bytes of a frame that is longer than one receive bring its descriptors.
    decoder.append(Array("C\0D".utf8), (2, count: 1))
    #expect(try decoder.next()?.attachment == nil)
    #expect(try decoder.next() == nil)
    decoder.append(Array("D\0".utf8))
    let last = try decoder.next()
    #expect(last?.attachment == 2)
    #expect(last.map { Array($0.payload) } == Array("DD".utf8))
    #expect(decoder.isEmpty)
  }

  @Test func aFrameAtTheLimitPassesAndOneAboveDoesNot() throws {
    for size in [0, 4, 5] {
      for pieces in [1, 3] {
        var decoder = FrameDecoder<Int>(format: .zeroTerminated(maximumSize: 4))
        let bytes = [UInt8](repeating: 1, count: size) + [0]
        let error = decoder.feed(bytes, pieces: pieces)
        #expect((error?.code == .frameTooLarge) == (size > 4))
      }
    }
    // The header alone is enough to refuse the frame.
    var decoder = FrameDecoder<Int>(format: .lengthPrefixed(maximumSize: 4))
    decoder.append([5, 0, 0, 0, 0, 0, 0, 0])
    #expect(throws: FramingError.self) { try decoder.next() }
    // An endless frame is refused as soon as it is too long.
    var endless = FrameDecoder<Int>(format: .zeroTerminated(maximumSize: 4))
    endless.append([1, 1, 1, 1])
    #expect(try endless.next() == nil)
    endless.append([1])
    #expect(throws: FramingError.self) { try endless.next() }
    #expect(throws: FramingError.self, "the error stays") { try endless.next() }
  }

  @Test func descriptorsAboveTheLimit() {
    for format in [
      FrameFormat.zeroTerminated(maximumDescriptors: 2), .lengthPrefixed(maximumDescriptors: 2),
    ] {
      for count in [2, 3] {
        var decoder = FrameDecoder<Int>(format: format)
        let bytes: [UInt8] =
          format == .zeroTerminated(maximumDescriptors: 2)
          ? [1, 0] : [0, 0, 0, 0, 0, UInt8(count), 0, 0]
        decoder.append(bytes, (1, count: count))
        let error = decoder.error
        #expect((error?.code == .tooManyDescriptors) == (count == 3))
      }
    }
  }

  @Test(
    arguments: [
      [0, 0, 0, 0, 7, 0, 0, 0], [0, 0, 0, 0, 0x80, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0],
      [0, 0, 0, 0, 0, 0, 0, 1],
    ] as [[UInt8]])
  func aHeaderThatIsNone(bytes: [UInt8]) {
    var decoder = FrameDecoder<Int>(format: .lengthPrefixed())
    decoder.append(bytes)
    #expect(decoder.error?.code == .malformedHeader)
    #expect(decoder.isEmpty, "nothing is held after an error")
  }

  @Test func theFramesInFrontOfAnErrorArrive() throws {
    var decoder = FrameDecoder<Int>(format: .zeroTerminated(maximumSize: 2))
    decoder.append(Array("a\0b\0ccc".utf8))
    #expect(try decoder.next() != nil)
    #expect(try decoder.next() != nil)
    #expect(decoder.error?.code == .frameTooLarge)
  }

  /// A frame that is alone in its receive keeps the receive's memory without a copy.
  @Test func aFrameInOneReceiveIsNotCopied() throws {
    let bytes = [UInt8](repeating: 7, count: 1000) + [0]
    var decoder = FrameDecoder<Int>(format: .zeroTerminated())
    decoder.append(bytes)
    let frame = try #require(try decoder.next())
    let source = bytes.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
    #expect(frame.payload.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } == source)
  }
}

private func pow3(_ exponent: Int) -> Int { (0..<exponent).reduce(1) { power, _ in power * 3 } }

extension FrameDecoder<Int> {
  /// The error in the bytes, after all frames that precede it.
  fileprivate var error: FramingError? {
    mutating get {
      do throws(FramingError) {
        while try next() != nil {}
        return nil
      } catch { return error }
    }
  }

  fileprivate mutating func feed(_ bytes: [UInt8], pieces: Int) -> FramingError? {
    for piece in 0..<pieces {
      let part = bytes[bytes.count * piece / pieces..<bytes.count * (piece + 1) / pieces]
      append(Array(part))
      if let error { return error }
    }
    return nil
  }
}

/// Bytes with known frames.
private struct Stream {
  let format: FrameFormat
  var bytes: [UInt8] = []
  var frames: [ExpectedFrame] = []

  struct ExpectedFrame {
    var payload: [UInt8]
    /// The position after the frame's last byte.
    var end: Int
    /// The announced descriptor count of a length-prefixed frame.
    var announced: Int?
  }

  /// The actual or expected output of a decoder: payloads with their attachments, then perhaps an
  /// error.
  struct Outcome: Equatable {
    var frames: [Found] = []
    var error: FramingError.Code?
  }

  struct Found: Equatable {
    var payload: [UInt8]
    var attachment: Int?
  }

  init(terminated payloads: [String]) {
    format = .zeroTerminated()
    for payload in payloads {
      bytes += Array(payload.utf8) + [0]
      frames.append(ExpectedFrame(payload: Array(payload.utf8), end: bytes.count))
    }
  }

  init(prefixed payloads: [(String, FrameKind, Int)]) {
    format = .lengthPrefixed()
    for (payload, kind, count) in payloads {
      bytes += [UInt8(payload.utf8.count), 0, 0, 0, kind.rawValue, UInt8(count), 0, 0]
      if kind != .message { bytes += [UInt8](repeating: 9, count: 8) }
      bytes += Array(payload.utf8)
      frames.append(ExpectedFrame(payload: Array(payload.utf8), end: bytes.count, announced: count))
    }
  }

  /// The receives of the stream; a receive ends after byte `n` if bit `n` is set.
  func receives(cutAt cuts: Int) -> [Range<Int>] {
    let ends = (1..<bytes.count).filter { cuts & 1 << ($0 - 1) != 0 } + [bytes.count]
    return zip([0] + ends, ends).map { $0..<$1 }
  }

  func expect(_ receives: [Range<Int>], carriers: Int) {
    let expected = model(receives, carriers)
    let found = decode(receives, carriers)
    if found != expected { Issue.record("\(receives), \(carriers): \(found), not \(expected)") }
  }

  private func decode(_ receives: [Range<Int>], _ carriers: Int) -> Outcome {
    var outcome = Outcome()
    var decoder = FrameDecoder<Int>(format: format)
    do throws(FramingError) {
      for (index, receive) in receives.enumerated() {
        decoder.append(Array(bytes[receive]), carriers & 1 << index != 0 ? (index, count: 1) : nil)
        while let frame = try decoder.next() {
          outcome.frames.append(Found(payload: Array(frame.payload), attachment: frame.attachment))
        }
      }
      if !decoder.isEmpty { outcome.error = .endInsideFrame }
    } catch {
      outcome.error = error.code
    }
    return outcome
  }

  /// Computes the result from the rule itself: a receive's attachment belongs to the frame that
  /// contains its last byte.
  private func model(_ receives: [Range<Int>], _ carriers: Int) -> Outcome {
    var attachments: [Int: [Int]] = [:]
    for (index, receive) in receives.enumerated() where carriers & 1 << index != 0 {
      let frame = frames.firstIndex { receive.upperBound <= $0.end }!
      attachments[frame, default: []].append(index)
    }
    var outcome = Outcome()
    for (index, frame) in frames.enumerated() {
      let own = attachments[index] ?? []
      if own.count > 1 {
        outcome.error = .descriptorsInPieces
      } else if let announced = frame.announced, announced != own.count {
        outcome.error = .descriptorCountDiffers
      }
      if outcome.error != nil { return outcome }
      outcome.frames.append(Found(payload: frame.payload, attachment: own.first))
    }
    return outcome
  }
}
