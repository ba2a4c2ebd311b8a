// SPDX-License-Identifier: Apache-2.0
/// What a control message is about: the pair of `cmsg_level` and `cmsg_type`.
///
/// Any pair can be made, so kinds that this module does not know work as well. The kinds it knows
/// are static members (`.rights`, `.credentials` …); a type behind ``DecodableControlMessage``
/// gives each its values.
public struct ControlMessageKind: Hashable, Sendable {
  /// The protocol that defines the type. The C name is `cmsg_level` (`SOL_SOCKET`, `IPPROTO_IP` …).
  public let level: Int32

  /// The type within the level. The C name is `cmsg_type` (`SCM_RIGHTS`, `IP_PKTINFO` …).
  public let type: Int32

  /// Any pair of numbers.
  public init(level: Int32, type: Int32) {
    self.level = level
    self.type = type
  }
}

extension ControlMessageKind: CustomStringConvertible {
  /// For logs: `control message 1/2`.
  public var description: String { "control message \(level)/\(type)" }
}
