// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CMsock
import Glibc
import MessageSockets
import ServiceManagement
import SystemPackage

/// Where `msock activate` binds a listener, and the listener's name.
struct ListeningPlace: Equatable {
  enum Address: Equatable {
    /// A path, or `@NAME`.
    case unix(String)
    case tcp(InternetAddress)
  }

  let address: Address
  let name: String

  /// Parses `/run/app.sock:api`, `@desk`, `tcp:127.0.0.1:8080:web` or `tcp:[::]:8080`. Without a
  /// name the listener is called `unknown`, like systemd's.
  ///
  /// - Throws: ``Failure`` with the status for wrong usage.
  init(_ text: String) throws {
    if text.hasPrefix("tcp:") {
      (address, name) = try Self.tcp(text.dropFirst("tcp:".count))
    } else {
      let (path, found) = Self.split(text[...])
      (address, name) = (.unix(String(path)), found ?? "unknown")
    }
    do {
      var check = NamedDescriptors()
      try check.append(try Files.duplicate(2), named: name)
    } catch let error as ServiceError {
      throw Failure(.wrongUsage, error.detail)
    }
  }

  private static func tcp(_ text: Substring) throws -> (Address, String) {
    if let address = InternetAddress(String(text)) { return (.tcp(address), "unknown") }
    let (place, name) = split(text)
    if let name, let address = InternetAddress(String(place)) { return (.tcp(address), name) }
    throw Failure(
      .wrongUsage,
      "'tcp:\(text)' is no address; write tcp:127.0.0.1:8080 or tcp:[::]:8080, and a name behind it"
    )
  }

  /// Splits at the last colon into the address and the name.
  private static func split(_ text: Substring) -> (Substring, String?) {
    guard let colon = text.lastIndex(of: ":") else { return (text, nil) }
    let name = text[text.index(after: colon)...]
    return name.isEmpty || name.contains("/") ? (text, nil) : (text[..<colon], String(name))
  }

  /// Binds the listener in the form that a program expects: its accepts block.
  func bind(seqpacket: Bool, on loop: IOLoop) async throws -> OwnedFd {
    let descriptor: OwnedFd
    switch address {
    case .unix(let path):
      let listener = try Listener.bind(
        to: try UnixAddress(argument: path), seqpacket: seqpacket, removesFile: false, on: loop)
      descriptor = try await listener.release()
    case .tcp(let address):
      let listener: TCPListener
      do throws(SocketError) { listener = try .bind(to: address, on: loop) } catch {
        throw Failure(error.code == .notPermitted ? .notPermitted : .cannotBind, "\(error)")
      }
      descriptor = try await listener.release()
    }
    // On epoll the loop has set O_NONBLOCK, which programs do not expect.
    _ = descriptor.withUnsafeFileDescriptor { msock_set_blocking($0.rawValue) }
    return descriptor
  }

  /// Removes the file that the listener was bound to.
  func removeFile() {
    if case .unix(let path) = address, !path.hasPrefix("@") { _ = unsafe unlink(path) }
  }
}
