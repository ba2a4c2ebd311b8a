// SPDX-License-Identifier: Apache-2.0
import CMsock
import Glibc
import MessageSockets

/// A program to be run with descriptors from 3 on, as in socket activation: `LISTEN_FDS` of them,
/// named by `LISTEN_FDNAMES`, for the process `LISTEN_PID`.
struct Program {
  let words: [String]
  /// The names of the descriptors, one for each.
  let names: [String]
  var variables: [String: String] = [:]

  /// Replaces this process by the program, so the parent still knows it.
  ///
  /// - Throws: ``Failure`` if it cannot be run. On success this does not return.
  func become(_ descriptors: consuming OwnedFds) throws -> Never {
    let errno = unsafe withProgram(descriptors, input: -1, process: getpid()) {
      unsafe msock_become($0)
    }
    throw failure(errno)
  }

  /// Runs the program, waits until it ends, and returns its status. If the task is cancelled, only
  /// the program itself gets SIGTERM, not the processes that it has started, and this does not wait
  /// for it.
  ///
  /// - Parameter input: The program's standard input.
  func run(_ descriptors: consuming OwnedFds, input: borrowing OwnedFd) async throws -> Int32 {
    let number = input.withUnsafeFileDescriptor { $0.rawValue }
    let process = unsafe withProgram(descriptors, input: number, process: 0) {
      unsafe msock_start($0)
    }
    // Only the program has them now, so their peers notice when it ends.
    descriptors.closeAll()
    guard process >= 0 else { throw failure(process) }
    do {
      // The process is not reaped there, so its number is not reused.
      try await awayFromTheLoop { msock_await_end(process) }
    } catch {
      _ = kill(process, SIGTERM)
      throw error
    }
    return msock_wait(process)
  }

  private func failure(_ result: Int32) -> Failure {
    let errno = Errno(rawValue: -result)
    let isMissing = errno == .noSuchFileOrDirectory
    return Failure(isMissing ? .noSuchProgram : .cannotRun, "'\(words[0])' cannot be run: \(errno)")
  }

  private func withProgram(
    _ descriptors: borrowing OwnedFds, input: Int32, process: Int32,
    _ body: (UnsafePointer<msock_program>) -> Int32
  ) -> Int32 {
    var numbers: [Int32] = []
    let span = descriptors.span
    for index in span.indices {
      numbers.append(span[index].withUnsafeFileDescriptor { $0.rawValue })
    }
    var set = variables
    set["LISTEN_FDS"] = "\(numbers.count)"
    set["LISTEN_FDNAMES"] = names.joined(separator: ":")
    // The child's process ID is written there once it is known.
    set["LISTEN_PID"] = process == 0 ? "0000000000" : "\(process)"
    // Variables about this process's own descriptors (`LISTEN_PIDFDID`) must not reach the program.
    let environment = Self.environment.filter { variable in
      !variable.starts(with: "LISTEN_".utf8)
        && !set.keys.contains { variable.starts(with: "\($0)=".utf8) }
    }
    // SAFETY: strings, numbers and program outlive the call.
    return unsafe withCStrings(words.map { Array($0.utf8) }) { words in
      unsafe withCStrings(environment + set.map { Array("\($0)=\($1)".utf8) }) { environment in
        unsafe numbers.withUnsafeBufferPointer { numbers in
          var program = unsafe msock_program(
            words: words, environment: environment, descriptors: numbers.baseAddress,
            count: Int32(numbers.count), input: input)
          return unsafe body(&program)
        }
      }
    }
  }

  /// The unmodified environment variables, which need not be UTF-8.
  private static var environment: [[UInt8]] {
    var variables: [[UInt8]] = []
    // SAFETY: nothing in this program changes the environment.
    var next = unsafe environ
    while let variable = unsafe next.pointee {
      variables.append(
        unsafe Array(UnsafeRawBufferPointer(start: variable, count: strlen(variable))))
      unsafe next += 1
    }
    return variables
  }
}

/// Passes the strings as a C list that ends with NULL.
private func withCStrings(
  _ strings: [[UInt8]], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32
) -> Int32 {
  // SAFETY: each copy is freed after the call, once.
  var copies =
    unsafe strings.map { string in
      unsafe (string + [0]).withUnsafeBytes {
        unsafe strdup($0.baseAddress!.assumingMemoryBound(to: CChar.self))
      }
    } + [nil]
  defer { unsafe copies.forEach { unsafe free($0) } }
  return unsafe copies.withUnsafeMutableBufferPointer { unsafe body($0.baseAddress!) }
}
