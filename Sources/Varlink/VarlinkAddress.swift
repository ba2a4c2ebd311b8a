// SPDX-License-Identifier: Apache-2.0
public import MessageSockets
internal import SystemPackage

/// The address of a Varlink service, as text: `unix:/run/app.sock`, `unix:@name` for an abstract
/// name, or a path alone.
///
/// Parameters behind a `;` (`unix:/run/app.sock;mode=0600`) are for the one that listens, and are
/// read over. The other kinds (`exec:`, `tcp:`, `device:`, `ssh-exec:`, `vsock:`) are not
/// supported.
public struct VarlinkAddress: Sendable, Hashable, CustomStringConvertible {
  /// The socket's address.
  public let unix: UnixAddress

  /// The address of a socket.
  public init(_ unix: UnixAddress) { self.unix = unix }

  /// Reads an address.
  ///
  /// - Throws: ``VarlinkFailure``: `addressNotSupported` for another kind, `invalidAddress` for a
  ///   name that is empty, too long for a socket, or a path that is not absolute.
  public init(_ text: String) throws(VarlinkFailure) {
    var rest = text[...]
    if rest.hasPrefix("unix:") {
      rest = rest.dropFirst("unix:".count)
    } else if !rest.hasPrefix("/") {
      throw VarlinkFailure(
        rest.contains(":") ? .addressNotSupported : .invalidAddress, detail: text)
    }
    let name = Array(rest.prefix { $0 != ";" }.utf8)
    do throws(AncillaryError) {
      if name.first == UInt8(ascii: "@"), name.count > 1 {
        unix = try UnixAddress(abstract: Array(name.dropFirst()))
        return
      }
      if name.first == UInt8(ascii: "/") {
        unix = try UnixAddress(pathBytes: name)
        return
      }
    } catch {
      throw VarlinkFailure(.invalidAddress, detail: "\(text): \(error)")
    }
    throw VarlinkFailure(.invalidAddress, detail: text)
  }

  /// The address as ``init(_:)`` reads it, if it has no `;` and no byte that is not printed.
  public var description: String { "unix:\(unix)" }
}
