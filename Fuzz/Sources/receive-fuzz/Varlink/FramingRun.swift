// SPDX-License-Identifier: Apache-2.0
@testable import MessageFraming

/// One input: bytes in receives of any length, some of them with descriptors, through the frame
/// decoder. No real descriptors are used: a number stands for the attachment of a receive.
enum FramingRun {
  static func run(_ input: Input) {
    let limit = input.number(1...40)
    let format: FrameFormat =
      input.oneIn(2)
      ? .zeroTerminated(maximumSize: limit, maximumDescriptors: 3)
      : .lengthPrefixed(maximumSize: limit, maximumDescriptors: 3)
    var split = FrameDecoder<Int>(format: format)
    var stream: [UInt8] = []
    var payloads: [[UInt8]] = []
    var attached: Set<Int> = []
    var failure: FramingError?
    var receive = 0
    while !input.isEmpty, failure == nil {
      let bytes = input.take(input.number(1...20))
      stream += bytes
      receive += 1
      split.append(bytes, input.oneIn(4) ? (receive, count: input.number(1...4)) : nil)
      do throws(FramingError) {
        while let frame = try split.next() {
          check(
            frame.payload.count <= limit, "a frame of \(frame.payload.count) bytes, above \(limit)")
          check(frame.descriptorCount <= 3, "too many descriptors")
          if let attachment = frame.attachment {
            check(attached.insert(attachment).inserted, "descriptors were given out twice")
          }
          payloads.append(Array(frame.payload))
        }
      } catch { failure = error }
    }
    if failure != nil {
      check((try? split.next()) == nil && split.isEmpty, "after an error there is something left")
    }
    compare(payloads, stream, format)
  }

  /// Checks that the frames of the whole stream begin with those that were found in pieces.
  private static func compare(_ payloads: [[UInt8]], _ stream: [UInt8], _ format: FrameFormat) {
    var whole = FrameDecoder<Int>(format: format)
    if !stream.isEmpty { whole.append(stream) }
    var found: [[UInt8]] = []
    while let frame = try? whole.next() { found.append(Array(frame.payload)) }
    // A header that announces descriptors fails here, because there are none.
    let common = min(found.count, payloads.count)
    check(
      Array(found.prefix(common)) == Array(payloads.prefix(common)),
      "the split changes what the frames are")
  }
}
