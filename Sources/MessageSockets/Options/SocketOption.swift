// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SocketEngine
internal import SystemPackage

/// An option of a socket, with the type of its value. The C names are getsockopt(2) and
/// setsockopt(2).
///
/// The static members are the options that these sockets are mostly used with. Make any other from
/// its numbers:
/// ```swift
/// try await socket.setOption(SocketOption<Int>(level: SOL_SOCKET, name: SO_BUSY_POLL), to: 50)
/// ```
public struct SocketOption<Value: SocketOptionValue>: Hashable, Sendable {
  /// The protocol that has the option: `SOL_SOCKET`, `IPPROTO_IP` …
  public let level: Int32
  /// Its number within the level.
  public let name: Int32

  public init(level: Int32, name: Int32) {
    self.level = level
    self.name = name
  }
}

/// A type of socket option values: `Bool`, `Int`, `Int32`, `UInt32`, or bytes.
public protocol SocketOptionValue: Sendable {
  /// The bytes as the system takes them.
  var optionBytes: [UInt8] { get }
  /// Reads the bytes that the system returned; nil if the size does not match.
  init?(optionBytes: [UInt8])
}

extension SocketOptionValue where Self: FixedWidthInteger {
  // SAFETY: the bytes of an integer, copied before the call returns.
  public var optionBytes: [UInt8] { unsafe withUnsafeBytes(of: self) { unsafe Array($0) } }

  public init?(optionBytes bytes: [UInt8]) {
    guard bytes.count == MemoryLayout<Self>.size else { return nil }
    // SAFETY: the length was checked above, and every bit pattern is a valid integer.
    self = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: Self.self) }
  }
}

extension Int32: SocketOptionValue {}
extension UInt32: SocketOptionValue {}

/// A C `int`; a value beyond 32 bits is clamped.
extension Int: SocketOptionValue {
  public var optionBytes: [UInt8] { Int32(clamping: self).optionBytes }

  public init?(optionBytes bytes: [UInt8]) {
    guard let value = Int32(optionBytes: bytes) else { return nil }
    self.init(value)
  }
}

/// A C `int` that is 0 or 1.
extension Bool: SocketOptionValue {
  public var optionBytes: [UInt8] { Int32(self ? 1 : 0).optionBytes }

  public init?(optionBytes bytes: [UInt8]) {
    guard let value = Int32(optionBytes: bytes) else { return nil }
    self = value != 0
  }
}

/// Any structure, byte for byte; at most 256 bytes are read.
extension [UInt8]: SocketOptionValue {
  public var optionBytes: [UInt8] { self }
  public init?(optionBytes: [UInt8]) { self = optionBytes }
}

extension SocketOption {
  func get(_ number: Int32, _ operation: SocketError.Operation = .query) throws(SocketError)
    -> Value
  {
    var bytes = [UInt8](repeating: 0, count: 256)
    var length = UInt32(bytes.count)
    // SAFETY: the kernel writes at most `length` bytes, the size of the array.
    let result = unsafe bytes.withUnsafeMutableBytes {
      unsafe cms_get_option(number, level, self.name, $0.baseAddress, &length)
    }
    guard result == 0 else { throw SocketError(result: result, operation, detail: text) }
    guard let value = Value(optionBytes: Array(bytes.prefix(Int(length)))) else {
      throw SocketError(
        .notSupported, operation,
        detail: "\(text) has \(length) bytes, not a value of type \(Value.self)")
    }
    return value
  }

  func set(_ number: Int32, to value: Value) throws(SocketError) {
    // SAFETY: the kernel reads the bytes only during the call.
    let result = unsafe value.optionBytes.withUnsafeBytes {
      unsafe cms_set_option(number, level, name, $0.baseAddress, UInt32($0.count))
    }
    guard result == 0 else { throw SocketError(result: result, .configure, detail: text) }
  }

  private var text: String { "option \(name) of level \(level)" }
}

extension LoopSocket {
  /// Reads an option. The C name is getsockopt(2).
  ///
  /// - Throws: ``SocketError``: `notSupported` (this kind of socket or this kernel does not have
  ///   it, or it is of another size), `closed`.
  public func option<Value>(_ option: SocketOption<Value>) throws -> Value {
    try option.get(channel.number(for: .query))
  }

  /// Sets an option. The C name is setsockopt(2).
  ///
  /// - Throws: ``SocketError``: `notSupported`, `notPermitted` (some need `CAP_NET_ADMIN`),
  ///   `closed`; others as the option's manual page says.
  public func setOption<Value>(_ option: SocketOption<Value>, to value: Value) throws {
    try option.set(channel.number(for: .configure), to: value)
  }
}

/// An option and its value, applied to a new socket before it is bound, listens, or connects. Some
/// options have no effect when they are set later.
/// ```swift
/// let address = InternetAddress(.any as IPv6Address, port: 8080)
/// let listener = try TCPListener.bind(to: address, settings: [SocketSetting(.onlyV6, true), SocketSetting(.receiveBufferSize, 1 << 20)])
/// ```
public struct SocketSetting: Sendable {
  private let apply: @Sendable (Int32) throws(SocketError) -> Void

  /// - Parameters:
  ///   - option: The option, as for ``LoopSocket/setOption(_:to:)``.
  ///   - value: The value to set.
  public init<Value>(_ option: SocketOption<Value>, _ value: Value) {
    apply = { number throws(SocketError) in try option.set(number, to: value) }
  }

  /// Sets the option with setsockopt(2).
  func apply(to socket: borrowing OwnedFd) throws(SocketError) {
    try apply(socket.withUnsafeFileDescriptor { $0.rawValue })
  }
}
