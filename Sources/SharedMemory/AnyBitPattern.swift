// SPDX-License-Identifier: Apache-2.0
/// A type of which every pattern of bits is a value, and whose values leave no byte unused, so that
/// bytes of a peer can be viewed as its elements, and elements be written for a peer: integers,
/// floating-point numbers, and structs of nothing else.
///
/// `BitwiseCopyable` alone does not say that. Conform a struct of your own if it keeps to both
/// rules:
/// ```swift
/// struct Pixel: AnyBitPattern {
///   var red, green, blue, alpha: UInt8
/// }
/// ```
/// - **Each field conforms**, or is a tuple of what conforms. The peer chooses the bytes. `Bool`,
///   enumerations, optionals and pointers are bitwise copyable, and most patterns are none of their
///   values: with a `Bool` of the byte 7 a program may do anything. Take a `UInt8`, and look at it.
/// - **There is no padding**, neither between the fields nor behind the last: bytes of padding are
///   whatever was in this process's memory before, and would go to the peer. Fill gaps with fields,
///   and multiples of the alignment.
///
/// The compiler does not check the rules. A debug build does, by reflection, wherever elements are
/// viewed, and stops the program; it believes types that describe themselves (`CustomReflectable`).
public protocol AnyBitPattern: BitwiseCopyable {}

extension UInt8: AnyBitPattern {}
extension UInt16: AnyBitPattern {}
extension UInt32: AnyBitPattern {}
extension UInt64: AnyBitPattern {}
extension UInt128: AnyBitPattern {}
extension UInt: AnyBitPattern {}
extension Int8: AnyBitPattern {}
extension Int16: AnyBitPattern {}
extension Int32: AnyBitPattern {}
extension Int64: AnyBitPattern {}
extension Int128: AnyBitPattern {}
extension Int: AnyBitPattern {}
extension Float: AnyBitPattern {}
extension Double: AnyBitPattern {}

extension AnyBitPattern {
  /// Whether the type follows the rules, as far as reflection can tell.
  static var keepsToTheRules: Bool {
    unsafe withUnsafeTemporaryAllocation(
      byteCount: MemoryLayout<Self>.stride, alignment: MemoryLayout<Self>.alignment
    ) { bytes in
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
      // SAFETY: zeros are a valid value if the type follows the rules. If it does not, only fields
      // that conform are read.
      return unsafe usedByteCount(bytes.load(as: Self.self)) == MemoryLayout<Self>.stride
    }
  }
}

/// The number of bytes of the numbers in a value; nil if it contains anything else.
private func usedByteCount(_ value: Any) -> Int? {
  let mirror = Mirror(reflecting: value)
  switch (mirror.displayStyle, value) {
  // Numbers describe themselves; a program may be built without reflection metadata for its
  // structs.
  case (_, let value as any AnyBitPattern & CustomReflectable): return size(of: value)
  case (.struct, let value as any AnyBitPattern) where mirror.children.isEmpty:
    return size(of: value)
  case (.struct, is any AnyBitPattern), (.tuple, _):
    var sum = 0
    for field in mirror.children {
      guard let count = usedByteCount(field.value) else { return nil }
      sum += count
    }
    return sum
  default: return nil
  }
}

private func size<Value: AnyBitPattern>(of value: Value) -> Int { MemoryLayout<Value>.size }
