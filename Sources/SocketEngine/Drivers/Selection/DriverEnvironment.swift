// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// The environment's say in the choice of the driver.
enum DriverEnvironment {
  static let variable = "MESSAGE_SOCKETS_DRIVER"

  /// - Throws: ``SocketError/Code/invalidConfiguration`` for a value that is none.
  static func choice() throws(SocketError) -> IOLoop.DriverChoice {
    // SAFETY: a C string, copied at once.
    guard let value = unsafe getenv(variable) else { return .automatic }
    return try choice(named: unsafe String(cString: value))
  }

  static func choice(named name: String) throws(SocketError) -> IOLoop.DriverChoice {
    if name.isEmpty { return .automatic }
    guard let value = IOLoop.DriverChoice.Value(rawValue: name) else {
      let allowed = IOLoop.DriverChoice.Value.allCases.map(\.rawValue).joined(separator: ", ")
      throw SocketError(
        .invalidConfiguration, .startLoop,
        detail: "\(variable) is \"\(name)\"; possible are \(allowed)")
    }
    return IOLoop.DriverChoice(value: value)
  }
}
