// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

extension IOLoop.Driver {
  /// Why a loop has the driver that it has: somebody asked for it, io_uring passed the probe, or
  /// what was wrong with io_uring.
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
      /// No descriptor was left for the ring or for the probe. `EMFILE`, `ENFILE`.
      public static var outOfDescriptors: Code { Code(name: .outOfDescriptors) }
      /// The kernel has io_uring, but not all that is needed (Linux 5.13).
      public static var kernelTooOld: Code { Code(name: .kernelTooOld) }
      /// The ring stands, but a descriptor did not come through it.
      public static var roundTripFailed: Code { Code(name: .roundTripFailed) }
      /// Setting the ring up failed in another way.
      public static var setUpFailed: Code { Code(name: .setUpFailed) }
    }

    public let code: Code
    /// What the kernel said, if it was asked and refused.
    public let errno: Errno?
    /// More about it, where there is something to add.
    public let detail: String?

    init(_ code: Code, errno: Errno? = nil, detail: String? = nil) {
      self.code = code
      self.errno = errno
      self.detail = detail
    }

    /// Whether the next loop may fare better: then nothing is remembered.
    var isTemporary: Bool { code == .outOfLockedMemory || code == .outOfDescriptors }
  }
}

extension IOLoop.Driver.Reason: CustomStringConvertible {
  public var description: String {
    if let errno { "\(text) [\(errno)]" } else { text }
  }

  /// Without the errno.
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
    case .outOfDescriptors: "no descriptor is left for a ring; raise RLIMIT_NOFILE"
    case .kernelTooOld: "the kernel's io_uring lacks what is needed; Linux 5.13 has it"
    case .roundTripFailed: "a descriptor did not come through io_uring"
    case .setUpFailed: "setting io_uring up failed"
    }
  }
}
