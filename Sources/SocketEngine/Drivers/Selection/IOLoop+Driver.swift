// SPDX-License-Identifier: Apache-2.0
extension IOLoop {
  /// What a loop runs on, and why; see ``IOLoop/driver``. The description is one line for a log.
  public struct Driver: Hashable, Sendable {
    /// How a loop talks to the kernel.
    public struct Kind: Hashable, Sendable {
      private enum Name: String { case ioUring = "io_uring", readiness = "readiness" }

      private let name: Name

      /// io_uring(7): requests and completions in shared memory.
      public static var ioUring: Kind { Kind(name: .ioUring) }
      /// epoll(7) with sendmsg(2), recvmsg(2), accept4(2), connect(2). The same behaviour, with
      /// more system calls.
      public static var readiness: Kind { Kind(name: .readiness) }
    }

    /// Compare it in tests and health checks; there may be more kinds one day.
    public let kind: Kind
    /// Why it is this kind.
    public let reason: Reason

    static func ioUring(_ reason: Reason) -> Driver { Driver(kind: .ioUring, reason: reason) }
    static func readiness(_ reason: Reason) -> Driver { Driver(kind: .readiness, reason: reason) }
  }
}

extension IOLoop.Driver: CustomStringConvertible {
  public var description: String { "\(kind): \(reason)" }
}

extension IOLoop.Driver.Kind: CustomStringConvertible {
  public var description: String { name.rawValue }
}
