// SPDX-License-Identifier: Apache-2.0
import Ancillary
import CCodec
import SystemPackage

/// The two sides of a comparison, using the same memory. The descriptors are numbers that can never
/// be open.
@safe
final class Codec {
  let count: Int
  // Aligned like a cache line, so that the allocator's choice of address does not matter.
  private let control = UnsafeMutableRawBufferPointer.allocate(byteCount: 2048, alignment: 64)
  /// The message as C wrote it.
  private var original: [UInt8] = []
  private var descriptors = OwnedFds()
  private var out = [Int32](repeating: 0, count: 253)

  init(count: Int) {
    self.count = count
    for index in 0..<count {
      descriptors.append(OwnedFd(adopting: FileDescriptor(rawValue: 0x4000_0000 + Int32(index))))
    }
    let space = ControlMessages.space(forDescriptors: count)
    _ = cEncode(1)
    original = unsafe [UInt8](control[..<space])
  }

  func cEncode(_ rounds: Int) -> UInt64 {
    unsafe Self.timeCEncode(descriptors, into: control, rounds)
  }

  /// Reads the very memory that the other side reads: an ``OwnedFd`` is one `int`.
  private static func timeCEncode(
    _ descriptors: borrowing OwnedFds, into control: UnsafeMutableRawBufferPointer, _ rounds: Int
  ) -> UInt64 {
    unsafe descriptors.span.withUnsafeBufferPointer {
      unsafe codec_time_encode(
        control.baseAddress, 2048, UnsafeRawPointer($0.baseAddress), $0.count, rounds)
    }
  }

  func swiftEncode(_ rounds: Int) -> UInt64 {
    unsafe Self.timeEncode(descriptors, into: control, rounds)
  }

  private static func timeEncode(
    _ descriptors: borrowing OwnedFds, into control: UnsafeMutableRawBufferPointer, _ rounds: Int
  ) -> UInt64 {
    let start = codec_now()
    let span = descriptors.span
    for _ in 0..<rounds {
      guard let used = try? unsafe ControlMessages.encodeRights(span, into: control), used > 0
      else { fatalError() }
    }
    return codec_now() - start
  }

  func refill(_ rounds: Int) -> UInt64 {
    unsafe codec_time_refill(control.baseAddress, original, original.count, rounds)
  }

  func cDecode(_ rounds: Int) -> UInt64 {
    unsafe codec_time_decode(control.baseAddress, original, original.count, &out, 253, rounds)
  }

  /// Decodes into a collection that is kept between messages: no allocation.
  func swiftDecode(_ rounds: Int) -> UInt64 {
    var received = OwnedFds()
    received.reserveCapacity(count)
    let length = original.count
    return unsafe original.withUnsafeBytes { original in
      let start = codec_now()
      for _ in 0..<rounds {
        unsafe codec_refill(control.baseAddress, original.baseAddress, length)
        unsafe received.adopt(rightsIn: UnsafeMutableRawBufferPointer(rebasing: control[..<length]))
        guard unsafe received.releaseAll({ $0.count }) == count else { fatalError() }
      }
      return codec_now() - start
    }
  }

  func cDecodeFresh(_ rounds: Int) -> UInt64 {
    unsafe codec_time_decode_allocating(control.baseAddress, original, original.count, rounds)
  }

  /// Decodes everything that a receive may bring into a new value: one allocation for more than
  /// four descriptors.
  func swiftDecodeFresh(_ rounds: Int) -> UInt64 {
    let length = original.count
    return unsafe original.withUnsafeBytes { original in
      let start = codec_now()
      for _ in 0..<rounds {
        unsafe codec_refill(control.baseAddress, original.baseAddress, length)
        var received = unsafe ReceivedAncillary(
          takingFrom: UnsafeMutableRawBufferPointer(rebasing: control[..<length]))
        guard unsafe received.descriptors.releaseAll({ $0.count }) == count else { fatalError() }
      }
      return codec_now() - start
    }
  }
}
