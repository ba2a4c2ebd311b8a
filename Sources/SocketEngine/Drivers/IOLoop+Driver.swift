// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

extension IOLoop {
  /// The driver of a loop, and why it was chosen; see ``IOLoop/driver``. The description is one
  /// line for a log.
  public struct Driver: Hashable, Sendable {
    /// How a loop talks to the kernel.
    public struct Kind: Hashable, Sendable {
      private enum Name: String { case ioUring = "io_uring", epoll }

      private let name: Name

      /// io_uring(7): requests and completions in shared memory.
      public static var ioUring: Kind { Kind(name: .ioUring) }
      /// epoll(7) with sendmsg(2), recvmsg(2), accept4(2), connect(2). It behaves as io_uring does,
      /// with more system calls.
      public static var epoll: Kind { Kind(name: .epoll) }
    }

    /// Compare it in tests and health checks; there may be more kinds one day.
    public let kind: Kind
    /// Why it is this kind.
    public let reason: Reason
    /// Whether ``MessageSocket/messages`` receives within a window before it is asked to:
    /// io_uring's multishot receives (Linux 6.0). If not, each message is received when it is asked
    /// for.
    public let receivesAhead: Bool
    /// Whether streams do so, too. From Linux 6.17 to 6.19.8 a multishot receive may never report
    /// the end of a stream; where a trial shows that, streams receive as they are asked to.
    public let receivesStreamsAhead: Bool

    /// Whether this is a ring of a kernel before Linux 6.0, or is treated as one.
    package var isRingWithoutMultishot: Bool { kind == .ioUring && !receivesAhead }

    static func ioUring(_ reason: Reason, receivingAhead limit: AheadLimit = .everything) -> Driver
    {
      Driver(
        kind: .ioUring, reason: reason, receivesAhead: limit > .nothing,
        receivesStreamsAhead: limit > .messages)
    }

    static func epoll(_ reason: Reason) -> Driver {
      Driver(kind: .epoll, reason: reason, receivesAhead: false, receivesStreamsAhead: false)
    }
  }
}

extension IOLoop.Driver: CustomStringConvertible {
  public var description: String { "\(kind): \(reason)" }
}

extension IOLoop.Driver.Kind: CustomStringConvertible {
  public var description: String { name.rawValue }
}

extension IOLoop {
  /// Which driver a loop is to use; see ``Configuration/driver``.
  ///
  /// More may be added, so this is no enumeration.
  public struct DriverChoice: Hashable, Sendable {
    enum Value: String, CaseIterable { case automatic, ioUring = "io_uring", epoll }

    let value: Value

    /// The driver that the environment variable `MESSAGE_SOCKETS_DRIVER` names (`automatic`,
    /// `io_uring` or `epoll`). Without it: io_uring if it passes a probe, else epoll.
    public static var automatic: DriverChoice { DriverChoice(value: .automatic) }
    /// io_uring, or no loop: where it is refused, making the loop throws `ioUringUnavailable`.
    public static var ioUring: DriverChoice { DriverChoice(value: .ioUring) }
    /// epoll. No system call of io_uring's is made, not even to ask: some sandboxes end a process
    /// for it.
    public static var epoll: DriverChoice { DriverChoice(value: .epoll) }
  }
}

extension IOLoop.DriverChoice: CustomStringConvertible {
  public var description: String { value.rawValue }
}

extension IOLoop.Driver {
  /// Why a loop has its driver: it was requested, io_uring passed the probe, or io_uring was
  /// unavailable.
  public struct Reason: Hashable, Sendable {
    /// The reason, as a program distinguishes it. There may be more, so keep a `default`.
    public struct Code: Hashable, Sendable {
      fileprivate enum Name: String {
        case requested, environment, probed
        case notPermitted, notImplemented, outOfLockedMemory, outOfDescriptors, kernelTooOld,
          roundTripFailed, setUpFailed
      }

      fileprivate let name: Name

      /// The configuration asks for it.
      public static var requested: Code { Code(name: .requested) }
      /// `MESSAGE_SOCKETS_DRIVER` asks for it.
      public static var environment: Code { Code(name: .environment) }
      /// A descriptor went through io_uring and came back.
      public static var probed: Code { Code(name: .probed) }

      /// io_uring is forbidden: by a container's seccomp profile, `kernel.io_uring_disabled`, or a
      /// security module. `EPERM`, `EACCES`.
      public static var notPermitted: Code { Code(name: .notPermitted) }
      /// The kernel, or the sandbox in place of it, has no io_uring. `ENOSYS`.
      public static var notImplemented: Code { Code(name: .notImplemented) }
      /// Not even a small ring fits into `RLIMIT_MEMLOCK`. `ENOMEM`.
      public static var outOfLockedMemory: Code { Code(name: .outOfLockedMemory) }
      /// No descriptor was left for the ring or for the probe, or too many descriptors of this user
      /// are in messages that have not been received. `EMFILE`, `ENFILE`; `ETOOMANYREFS`.
      public static var outOfDescriptors: Code { Code(name: .outOfDescriptors) }
      /// The kernel has io_uring, but not all that is needed (Linux 5.13).
      public static var kernelTooOld: Code { Code(name: .kernelTooOld) }
      /// The ring was set up, but a descriptor was not received through it.
      public static var roundTripFailed: Code { Code(name: .roundTripFailed) }
      /// Setting the ring up failed in another way.
      public static var setUpFailed: Code { Code(name: .setUpFailed) }
    }

    public let code: Code
    /// The kernel's answer, if it was asked and refused.
    public let errno: Errno?
    /// More about it, where there is something to add.
    public let detail: String?

    init(_ code: Code, errno: Errno? = nil, detail: String? = nil) {
      self.code = code
      self.errno = errno
      self.detail = detail
    }

    /// Whether every later loop would get this answer. Only then is it remembered; a shortage, a
    /// signal or a slow machine is temporary.
    var isLasting: Bool {
      switch code {
      case .notPermitted, .notImplemented, .kernelTooOld: true
      case .roundTripFailed, .setUpFailed: errno.map { Self.lasting.contains($0) } ?? false
      default: false
      }
    }

    private static let lasting: Set<Errno> = [
      .notPermitted, .permissionDenied, .noFunction, .invalidArgument, .notSupportedOnSocket,
    ]
  }
}

extension IOLoop.Driver.Reason: CustomStringConvertible {
  public var description: String {
    if let errno { "\(text) [\(errno)]" } else { text }
  }

  /// The reason without its errno.
  var text: String {
    if let detail { "\(code.explanation) (\(detail))" } else { code.explanation }
  }
}

extension IOLoop.Driver.Reason.Code: CustomStringConvertible {
  public var description: String { name.rawValue }

  var explanation: String {
    switch name {
    case .requested: "the configuration asks for it"
    case .environment: "\(DriverEnvironment.variable) asks for it"
    case .probed: "it passed the probe"
    case .notPermitted:
      "io_uring is not permitted; see kernel.io_uring_disabled, or allow io_uring_setup in the container's seccomp profile"
    case .notImplemented: "the kernel, or the sandbox in place of it, does not have io_uring"
    case .outOfLockedMemory: "no locked memory is left for a ring; raise RLIMIT_MEMLOCK (ulimit -l)"
    case .outOfDescriptors:
      "no descriptor is left for a ring or its probe; raise RLIMIT_NOFILE, or receive what was sent"
    case .kernelTooOld: "the kernel's io_uring lacks what is needed; Linux 5.13 has it"
    case .roundTripFailed: "a descriptor did not come through io_uring"
    case .setUpFailed: "setting io_uring up failed"
    }
  }
}
