// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import MessageSockets
public import SocketEngine
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The descriptors that a service manager has passed to this process: listeners of socket units,
/// connections, and what the process's predecessor has stored. The C name is sd_listen_fds(3).
public enum Activation {
  private static let wasTaken = TSanVisibleMutex(false)

  /// Takes the descriptors that were passed to this process, with their names. To be called once,
  /// early: before anything else opens descriptors, all numbers from 3 on are the manager's.
  ///
  /// Empty when the process was not started by a service manager, when that has passed nothing, or
  /// when the variables are meant for another process (`LISTEN_PID`, and where it is set
  /// `LISTEN_PIDFDID`): an error about a missing name then says which. Descriptors without names
  /// are called `unknown`, or by systemd `connection` or `stored`. Close-on-exec is set on all of
  /// them: the manager leaves it unset. The environment stays as it is; see
  /// ``ServiceEnvironment/forChildren()``.
  ///
  /// Descriptors that are not taken close at the end of the value. ``NamedDescriptors/names`` says
  /// until then what that is: log it, since a unit file that passes more than the program takes is
  /// a mistake.
  /// ```swift
  /// for name in passed.names { logger.warning("unused descriptor: \(name)") }
  /// ```
  ///
  /// - Throws: ``ServiceError``: `alreadyTaken` at the second call; `malformedEnvironment` (a count
  ///   beyond all numbers, another number of names); `descriptorNotPassed` (a number is not open,
  ///   or is close-on-exec, so that it was opened by this process): then none was taken, and all
  ///   stay open.
  public static func takeDescriptors() throws(ServiceError) -> NamedDescriptors {
    try wasTaken.withLock { (wasTaken) throws(ServiceError) in
      if wasTaken { throw ServiceError(.alreadyTaken, "the passed descriptors were taken before") }
      let announcement = try PassedDescriptors(
        ServiceEnvironment.current(), processID: getpid(), processIdentity: ownIdentity())
      let passed = try take(announcement)
      wasTaken = true
      return passed
    }
  }

  /// Takes the control socket of a child that is passed nothing else: see
  /// ``ServiceCommand/start(control:named:on:)``. Other descriptors that were passed are closed; a
  /// child that has some calls ``takeDescriptors()``, and then
  /// ``NamedDescriptors/takeConnection(named:as:on:)``.
  ///
  /// - Throws: as these two do.
  public static func takeControlSocket<Control: UnixConnection>(
    named name: String = "control", as control: Control.Type = Control.self, on loop: IOLoop? = nil
  ) throws -> Control {
    var passed = try takeDescriptors()
    return try passed.takeConnection(named: name, on: loop)
  }

  static func take(_ announcement: PassedDescriptors) throws(ServiceError) -> NamedDescriptors {
    var passed = NamedDescriptors()
    passed.absence = announcement.absence
    // Check all of them first: if the list is wrong, none of the descriptors is ours.
    for (number, name) in announcement.numbered {
      let state = cms_is_close_on_exec(number)
      guard state != 0 else { continue }
      let what =
        state < 0
        ? "is not open"
        : "was not passed: this process has opened it, or another library has taken it already"
      throw ServiceError(
        .descriptorNotPassed, "descriptor \(number), \(name), \(what)",
        errno: state < 0 ? Errno(rawValue: -state) : nil)
    }
    for (number, name) in announcement.numbered {
      _ = cms_set_close_on_exec(number)
      passed.append(
        OwnedFd(adopting: FileDescriptor(rawValue: number)), NamedDescriptors.Entry(name: name))
    }
    return passed
  }

  private static func ownIdentity() -> UInt64? {
    var identity: UInt64 = 0
    // SAFETY: the call writes one number, to a local variable.
    return unsafe cms_process_identity(&identity) == 0 ? identity : nil
  }
}

/// The descriptors that the environment announces.
struct PassedDescriptors: Equatable {
  /// In the order of their numbers, which begin at 3.
  var names: [String] = []
  /// Why there are none.
  var absence: String?

  var numbered: some Sequence<(Int32, String)> { zip(3..., names).lazy.map { (Int32($0), $1) } }

  /// - Parameter processIdentity: The number of this process in pidfs. If the kernel has no pidfs,
  ///   it is nil, and `LISTEN_PIDFDID` is ignored.
  /// - Throws: ``ServiceError``: `malformedEnvironment`.
  init(_ environment: [String: String], processID: Int32, processIdentity: UInt64?)
    throws(ServiceError)
  {
    guard let process = environment["LISTEN_PID"], let count = environment["LISTEN_FDS"] else {
      absence = "no service manager has passed any"
      return
    }
    guard try Self.number(process, "LISTEN_PID", in: 1...Int64(Int32.max)) == Int64(processID)
    else {
      absence = "they were passed to process \(process), and this is \(processID)"
      return
    }
    if let identity = environment["LISTEN_PIDFDID"], let processIdentity {
      guard let meant = UInt64(identity) else { throw Self.malformed("LISTEN_PIDFDID", identity) }
      if meant != processIdentity {
        absence =
          "they were passed to another process that had the number \(processID) (LISTEN_PIDFDID)"
        return
      }
    }
    let number = try Self.number(count, "LISTEN_FDS", in: 0...Int64(Int32.max - 3))
    if number == 0 { absence = "the service manager has passed none" }
    guard let joined = environment["LISTEN_FDNAMES"] else {
      // No more descriptors can be open, so the list stays bounded, whatever the variable contains.
      guard number <= 1 << 20 else { throw Self.malformed("LISTEN_FDS", count) }
      names = Array(repeating: "unknown", count: Int(number))
      return
    }
    let given =
      number == 0 && joined.isEmpty
      ? [] : joined.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard given.count == number else {
      throw ServiceError(
        .malformedEnvironment,
        "LISTEN_FDNAMES has \(given.count) names for the \(number) descriptors of LISTEN_FDS")
    }
    names = given
  }

  private static func number(_ text: String, _ variable: String, in range: ClosedRange<Int64>)
    throws(ServiceError) -> Int64
  {
    guard let number = Int64(text), range.contains(number) else { throw malformed(variable, text) }
    return number
  }

  private static func malformed(_ variable: String, _ text: String) -> ServiceError {
    ServiceError(.malformedEnvironment, "\(variable) is \(text.prefix(64).debugDescription)")
  }
}
