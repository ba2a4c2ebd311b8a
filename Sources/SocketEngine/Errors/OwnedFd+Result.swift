// SPDX-License-Identifier: Apache-2.0
package import Ancillary
internal import SystemPackage

extension OwnedFd {
  /// Adopts the descriptor that a system call returned, or throws the error that it returned
  /// instead.
  package init(adoptingResult result: Int32, operation: SocketError.Operation) throws(SocketError) {
    guard result >= 0 else { throw SocketError(result: result, operation) }
    self.init(adopting: FileDescriptor(rawValue: result))
  }
}

extension SocketError {
  /// The error for a negative result of a system call.
  package init(
    result: Int32, _ operation: Operation, address: AnySocketAddress? = nil, detail: String? = nil
  ) {
    let errno = Errno(rawValue: -result)
    self.init(Code(errno), operation, errno: errno, address: address, detail: detail)
  }
}
