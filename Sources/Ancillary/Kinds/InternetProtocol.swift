// SPDX-License-Identifier: Apache-2.0
/// The internet protocol that a control message belongs to; each has its own level and
/// types.
public enum InternetProtocol: Hashable, Sendable {
  /// The C name is `IPPROTO_IP`.
  case v4
  /// The C name is `IPPROTO_IPV6`.
  case v6
}
