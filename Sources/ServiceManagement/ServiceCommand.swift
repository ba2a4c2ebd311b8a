// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
public import MessageSockets
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
/// and can be started again.
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
  /// - Throws: ``ServiceError``: `startFailed`, with the system's error: `noSuchFileOrDirectory`,
  ///   `permissionDenied`, `tooManyOpenFiles` …; then no process is left.
  public borrowing func start() throws(ServiceError) -> ServiceProcess {
    let place = "LISTEN_PID=          "
    var variables = environment.filter { !$0.key.hasPrefix("LISTEN_") }.map {
      "\($0.key)=\($0.value)"
    }
    if !descriptors.isEmpty {
      variables += [
        "LISTEN_FDS=\(descriptors.count)",
        "LISTEN_FDNAMES=\(descriptors.names.joined(separator: ":"))", place,
      ]
    }
    let arguments = CStrings([program.string] + self.arguments)
    let environment = CStrings(variables)
    var numbers: [Int32] = []
    let passed = descriptors.span
    for index in passed.indices {
      numbers.append(passed[index].withUnsafeFileDescriptor { $0.rawValue })
    }
    var output: Int32 = -1
    if let number = self.output?.withUnsafeFileDescriptor({ $0.rawValue }) { output = number }

    var process: Int32 = -1
    var descriptor: Int32 = -1
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
            passed.isEmpty ? nil : environment[variables.count - 1]! + "LISTEN_PID=".utf8.count
          unsafe start.descriptors = numbers.baseAddress
          unsafe start.count = UInt32(numbers.count)
          unsafe start.output = output
          return unsafe cms_start_service(&start, &process, &descriptor)
        }
      }
    }
    guard result == 0 else {
      throw ServiceError(
        .startFailed, "\(program) could not be started", errno: Errno(rawValue: -result))
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
