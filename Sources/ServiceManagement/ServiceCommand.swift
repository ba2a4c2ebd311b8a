// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import MessageSockets
public import SocketEngine
public import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A program to be started with descriptors, as a service manager starts a service: socket
/// activation from the other side.
///
/// ```swift
/// var command = ServiceCommand("/usr/bin/app", arguments: ["--quiet"])
/// try await command.descriptors.append(duplicateOf: listener, named: "web")
/// command.environment["NOTIFY_SOCKET"] = notifications.environmentValue
/// let service = try command.start()
/// ```
/// The child finds the descriptors as 3, 4, … with `LISTEN_FDS`, `LISTEN_FDNAMES` and its own
/// number in `LISTEN_PID`, besides 0 to 2, and nothing else that is open here, whether it is
/// close-on-exec or not. No signal is blocked or ignored in it. The command keeps its descriptors,
/// and can be started again. A socket to talk to the child comes with
/// ``start(control:named:on:)``; ``rights`` are for children that may do less.
public struct ServiceCommand: ~Copyable, Sendable {
  /// The program's file. `PATH` is not searched.
  public var program: FilePath
  /// The arguments behind the program's own name.
  public var arguments: [String]
  /// Its variables: by default ours, without those that a service manager has set for us.
  /// `LISTEN_*` are added.
  public var environment: [String: String]
  /// The descriptors that the program is passed.
  public var descriptors = NamedDescriptors()
  /// The file for its standard output and error; nil passes on those of this process.
  public var output: OwnedFd?
  /// The rights that the program runs with; nil passes on those of this process.
  public var rights: ServiceRights?

  /// A program without descriptors.
  public init(
    _ program: FilePath, arguments: [String] = [],
    environment: [String: String] = ServiceEnvironment.forChildren()
  ) {
    self.program = program
    self.arguments = arguments
    self.environment = environment
  }

  /// Starts the program. Blocks the thread until it runs, which takes as long as fork(2) and
  /// execve(2).
  ///
  /// - Throws: ``ServiceError``: `startFailed`, with what failed and the system's error:
  ///   `noSuchFileOrDirectory`, `permissionDenied` (the program's file, for the child's user),
  ///   `notPermitted` (``rights`` of another user), `invalidArgument` (an ID that is none),
  ///   `tooManyOpenFiles` …; then no process is left.
  public borrowing func start() throws(ServiceError) -> ServiceProcess {
    let descriptors = self.descriptors.span
    var numbers: [Int32] = []
    for index in descriptors.indices {
      numbers.append(descriptors[index].withUnsafeFileDescriptor { $0.rawValue })
    }
    return try start(passing: numbers, self.descriptors.names)
  }

  /// Starts the program with one more descriptor, behind the others: a socket by which it and this
  /// process talk to each other. This process's end is returned.
  ///
  /// ```swift
  /// let (child, control) = try command.start(control: UnixSeqpacket.self)
  /// ```
  /// Each start makes a pair of its own, and only the child keeps the child's end. When the child
  /// has ended, however early, receives on `control` find the end, or throw `connectionReset` if it
  /// left messages unread; sends throw `peerClosed` or `connectionReset`. When `control` is
  /// closed, the child finds the end. It takes its end by
  /// ``Activation/takeControlSocket(named:as:on:)``.
  ///
  /// The child is trusted no more than another peer: set a policy before the first receive. The
  /// socket's ``UnixConnection/peerIdentity()`` is this process, which has made both ends.
  ///
  /// - Parameters:
  ///   - control: The kind of the socket.
  ///   - name: The name under which the child finds it; no other of ``descriptors`` may have it.
  ///   - loop: The loop that `control` lives on; by default the loop of the current task, or the
  ///     process's shared one.
  /// - Throws: ``ServiceError``: `invalidName`; `startFailed`, as ``start()`` does.
  ///   ``SocketError``: `outOfDescriptors`, `outOfMemory`; and as `IOLoop` does when the shared
  ///   loop cannot be started. Both ends are closed then, and no process is left.
  public borrowing func start<Control: UnixConnection>(
    control: Control.Type = Control.self, named name: String = "control", on loop: IOLoop? = nil
  ) throws -> (process: ServiceProcess, control: Control) {
    try NamedDescriptors.check(name)
    guard !descriptors.names.contains(name) else {
      throw ServiceError(.invalidName, "another descriptor of the command is named \(name)")
    }
    var pair: (Int32, Int32) = (-1, -1)
    // SAFETY: the call writes two numbers, to local variables.
    let result = unsafe cms_unix_socketpair(Control.kind.type, &pair.0, &pair.1)
    guard result == 0 else { throw SocketError(result: result, .createSocket) }
    let theirs = OwnedFd(adopting: FileDescriptor(rawValue: pair.1))
    let ours = try Control(
      adopting: OwnedFd(adopting: FileDescriptor(rawValue: pair.0)), on: loop)
    let passed = descriptors.span
    var numbers: [Int32] = []
    for index in passed.indices {
      numbers.append(passed[index].withUnsafeFileDescriptor { $0.rawValue })
    }
    let names = descriptors.names + [name]
    let process = try theirs.withUnsafeFileDescriptor { (end) throws(ServiceError) in
      try start(passing: numbers + [end.rawValue], names)
    }
    return (process, ours)
  }

  /// The numbers are open until the call returns.
  private borrowing func start(passing numbers: [Int32], _ names: [String]) throws(ServiceError)
    -> ServiceProcess
  {
    let place = "LISTEN_PID=          "
    var variables = environment.filter { !$0.key.hasPrefix("LISTEN_") }.map {
      "\($0.key)=\($0.value)"
    }
    if !numbers.isEmpty {
      variables += [
        "LISTEN_FDS=\(numbers.count)", "LISTEN_FDNAMES=\(names.joined(separator: ":"))", place,
      ]
    }
    let arguments = CStrings([program.string] + self.arguments)
    let environment = CStrings(variables)
    var output: Int32 = -1
    if let number = self.output?.withUnsafeFileDescriptor({ $0.rawValue }) { output = number }

    var process: Int32 = -1
    var descriptor: Int32 = -1
    var step: Int32 = 0
    // SAFETY: all memory is held until the call returns. `process_text` points to the end of the
    // last variable, which has room for ten digits. The child writes to its own copy of this
    // memory.
    let result: Int32 = unsafe arguments.withPointers { arguments in
      unsafe environment.withPointers { environment in
        unsafe numbers.withUnsafeBufferPointer { numbers in
          var start = unsafe cms_service_start()
          unsafe start.path = UnsafePointer(arguments[0])
          unsafe start.arguments = UnsafePointer(arguments)
          unsafe start.environment = UnsafePointer(environment)
          unsafe start.process_text =
            numbers.isEmpty ? nil : environment[variables.count - 1]! + "LISTEN_PID=".utf8.count
          unsafe start.descriptors = numbers.baseAddress
          unsafe start.count = UInt32(numbers.count)
          unsafe start.output = output
          if let rights {
            unsafe start.no_new_privileges = true
            if let ids = rights.ids {
              unsafe start.changes_user = true
              unsafe start.user = ids.user
              unsafe start.group = ids.group
            }
          }
          return unsafe cms_start_service(&start, &process, &descriptor, &step)
        }
      }
    }
    guard result == 0 else {
      let what = StartStep.description(step, rights).map { ": \($0)" } ?? ""
      throw ServiceError(
        .startFailed, "\(program) could not be started\(what)", errno: Errno(rawValue: -result))
    }
    return ServiceProcess(
      process, ProcessFd(adopting: OwnedFd(adopting: FileDescriptor(rawValue: descriptor))))
  }
}

/// Strings in the form that execve(2) takes.
@safe
private final class CStrings {
  private var pointers: [UnsafeMutablePointer<CChar>?]

  init(_ strings: [String]) {
    // A NUL inside a string would end it early.
    unsafe pointers = strings.map { unsafe strdup($0) } + [nil]
  }

  deinit { unsafe pointers.forEach { unsafe free($0) } }

  func withPointers<R>(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R) -> R {
    unsafe pointers.withUnsafeMutableBufferPointer { unsafe body($0.baseAddress!) }
  }
}
