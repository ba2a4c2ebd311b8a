// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Which machine a vsock address belongs to: the host, or one of its virtual machines. The C names
/// are `VMADDR_CID_HOST` and its neighbours (vsock(7)).
public struct VsockContextID: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32

  /// A virtual machine gets its number, 3 or more, from the program that runs it.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// For bind(2): every context identifier of this machine. The C name is `VMADDR_CID_ANY`.
  public static var any: VsockContextID { VsockContextID(rawValue: cms_vsock_context_any) }

  /// The hypervisor. Of the transports of today, only VMware's has it. The C name is
  /// `VMADDR_CID_HYPERVISOR`.
  public static var hypervisor: VsockContextID {
    VsockContextID(rawValue: cms_vsock_context_hypervisor)
  }

  /// This machine, by the transport `vsock_loopback`. The C name is `VMADDR_CID_LOCAL`, since Linux
  /// 5.6.
  public static var local: VsockContextID { VsockContextID(rawValue: cms_vsock_context_local) }

  /// The host, as a virtual machine sees it. The C name is `VMADDR_CID_HOST`.
  public static var host: VsockContextID { VsockContextID(rawValue: cms_vsock_context_host) }
}

extension VsockContextID: LosslessStringConvertible {
  /// A decimal number, or `any`.
  public var description: String { self == .any ? "any" : "\(rawValue)" }

  /// Reads `any` or a decimal number without leading zeroes.
  public init?(_ description: String) {
    guard let value = UInt32(vsockText: description[...]) else { return nil }
    self.init(rawValue: value)
  }
}

/// An address of a vsock socket, for connections between a virtual machine and its host: a context
/// identifier and a port. The C name is `struct sockaddr_vm` (vsock(7)).
///
/// As text: `vsock:2:1024`, `vsock:any:1024`.
public struct VsockAddress: Hashable, Sendable {
  /// The machine.
  public var context: VsockContextID

  /// The port, of 32 bits; ``anyPort`` lets the system choose in bind(2). Binding to one below 1024
  /// needs `CAP_NET_BIND_SERVICE`.
  public var port: UInt32

  /// An address from its parts.
  public init(_ context: VsockContextID, port: UInt32) {
    self.context = context
    self.port = port
  }

  /// For bind(2): a free port, to be chosen by the system. The C name is `VMADDR_PORT_ANY`.
  public static var anyPort: UInt32 { cms_vsock_port_any }
}

extension VsockAddress: SocketAddress {
  /// 16 bytes: `sizeof (struct sockaddr_vm)`.
  public var encodedByteCount: Int { Int(cms_vsock_address_size) }

  /// Appends a `struct sockaddr_vm`, whose integers are in the host's byte order. Its flags
  /// (`svm_flags`) are 0.
  @_lifetime(output: copy output)
  public func encode(into output: inout OutputRawSpan) {
    SocketAddressHeader.append(family: cms_family_vsock, total: encodedByteCount, to: &output)
    output.append(zeroes: Int(cms_vsock_port_offset) - SocketAddressHeader.byteCount)
    output.append(integer: port)
    output.append(integer: context.rawValue)
    output.append(zeroes: 4)
  }

  /// Reads a `struct sockaddr_vm`; its flags, and bytes behind it, are ignored.
  ///
  /// - Throws: ``AncillaryError/Code/wrongFamily``; ``AncillaryError/Code/malformedAddress`` below
  ///   16 bytes.
  public init(decoding bytes: RawSpan) throws(AncillaryError) {
    guard let family = SocketAddressHeader.family(in: bytes) else {
      throw AncillaryError(.malformedAddress)
    }
    guard family == cms_family_vsock else {
      throw AncillaryError(.wrongFamily, actual: Int(family), limit: Int(cms_family_vsock))
    }
    guard bytes.byteCount >= Int(cms_vsock_address_size) else {
      throw AncillaryError(
        .malformedAddress, actual: bytes.byteCount, limit: Int(cms_vsock_address_size))
    }
    self.init(
      VsockContextID(rawValue: bytes.load(at: Int(cms_vsock_context_offset))),
      port: bytes.load(at: Int(cms_vsock_port_offset)))
  }
}

extension VsockAddress: LosslessStringConvertible {
  /// The text form: `vsock:2:1024`, `vsock:any:any`.
  public var description: String {
    "vsock:\(context):\(port == Self.anyPort ? "any" : "\(port)")"
  }

  /// Reads the text form; both parts must be there.
  public init?(_ description: String) {
    let parts = description.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "vsock", let context = UInt32(vsockText: parts[1]),
      let port = UInt32(vsockText: parts[2])
    else { return nil }
    self.init(VsockContextID(rawValue: context), port: port)
  }
}

extension UInt32 {
  /// Parses a decimal number; `any` is the largest one.
  fileprivate init?(vsockText text: Substring) {
    if text == "any" {
      self = .max
    } else {
      self.init(plainDecimal: text)
    }
  }
}
