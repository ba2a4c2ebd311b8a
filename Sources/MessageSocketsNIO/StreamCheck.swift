// SPDX-License-Identifier: Apache-2.0
#if NIO
  internal import CMessageSockets
  internal import MessageSockets
  internal import SystemPackage

  #if canImport(Glibc)
    internal import Glibc
  #elseif canImport(Musl)
    internal import Musl
  #endif

  /// What SwiftNIO takes for granted: with another descriptor it ends the process in debug builds,
  /// leaks the descriptor, or reports the first read as an error.
  enum StreamCheck {
    private static let families = [
      cms_family_unix, cms_family_internet_v4, cms_family_internet_v6,
    ]

    /// Checks that SwiftNIO can serve the descriptor, and sets `O_NONBLOCK` and close-on-exec.
    static func check(
      _ descriptor: borrowing OwnedFd, isListener: Bool
    ) throws(NIOHandOverError) {
      let number = descriptor.withUnsafeFileDescriptor { $0.rawValue }
      let expected = isListener ? "a stream listener" : "a connected stream"
      guard let family = option(cms_so_domain, of: number),
        let type = option(cms_so_type, of: number)
      else {
        throw NIOHandOverError(
          .wrongSocketKind, detail: "it is no socket; expected \(expected)")
      }
      let listens = isListening(number)
      guard families.contains(family), type == cms_socket_stream, listens == isListener else {
        throw NIOHandOverError(
          .wrongSocketKind,
          detail: "it is a \(listens ? "listener" : "socket") of family \(family), type \(type); "
            + "expected \(expected)")
      }
      if !isListener && !hasPeer(number) { throw NIOHandOverError(.notConnected) }
      // SwiftNIO sets the flag, too, and leaks the descriptor if the kernel refuses.
      let flags = fcntl(number, F_GETFL)
      guard flags >= 0, fcntl(number, F_SETFL, flags | O_NONBLOCK) == 0 else {
        throw NIOHandOverError(.system, underlying: Errno(rawValue: errno))
      }
      let result = cms_set_close_on_exec(number)
      guard result == 0 else {
        throw NIOHandOverError(.system, underlying: Errno(rawValue: -result))
      }
    }

    /// Whether the socket listens; false for what is no socket.
    static func isListening(_ number: Int32) -> Bool { option(cms_so_acceptconn, of: number) == 1 }

    private static func option(_ name: Int32, of number: Int32) -> Int32? {
      var value: Int32 = 0
      var size = UInt32(MemoryLayout<Int32>.size)
      // SAFETY: the call writes at most `size` bytes, to local variables.
      let result = unsafe cms_get_option(number, cms_sol_socket, name, &value, &size)
      return result == 0 ? value : nil
    }

    private static func hasPeer(_ number: Int32) -> Bool {
      // Only whether there is a name is of interest, so that it may be cut.
      var name: UInt64 = 0
      var size = UInt32(MemoryLayout<UInt64>.size)
      // SAFETY: the call writes at most `size` bytes, to local variables.
      return unsafe cms_peer_name(number, &name, &size) == 0
    }
  }
#endif
