// SPDX-License-Identifier: Apache-2.0
extension IOLoop {
  /// Which driver a loop is to use; see ``Configuration/driver``.
  ///
  /// More may be added, so this is no enumeration.
  public struct DriverChoice: Hashable, Sendable {
    enum Value: String, CaseIterable { case automatic, ioUring = "io_uring", readiness }

    let value: Value

    /// What `MESSAGE_SOCKETS_DRIVER` says (`automatic`, `io_uring` or `readiness`). Without it:
    /// io_uring if it passes a probe, else epoll.
    public static var automatic: DriverChoice { DriverChoice(value: .automatic) }
    /// io_uring, or no loop: where it is refused, making the loop throws `ioUringUnavailable`.
    public static var ioUring: DriverChoice { DriverChoice(value: .ioUring) }
    /// epoll. No system call of io_uring's is made, not even to ask: some sandboxes end a process
    /// for it.
    public static var readiness: DriverChoice { DriverChoice(value: .readiness) }
  }
}

extension IOLoop.DriverChoice: CustomStringConvertible {
  public var description: String { value.rawValue }
}
