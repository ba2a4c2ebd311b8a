// SPDX-License-Identifier: Apache-2.0
import CMsock
import Glibc
import MessageSockets

/// A program to be run, with descriptors from 3 on, as socket activation passes them: `LISTEN_FDS`
/// of them, named by `LISTEN_FDNAMES`, for the process `LISTEN_PID`.
struct Program {
  let words: [String]
  /// Names of the descriptors, as many as there are.
  let names: [String]
  var variables: [String: String] = [:]

  /// Becomes the program: the process stays, so that its parent knows it.
  ///
  /// - Throws: ``Failure`` if it cannot be run. On success it does not return.
  func become(_ descriptors: consuming OwnedFds) throws -> Never {
    let errno = unsafe withProgram(descriptors, input: -1, process: getpid()) {
      unsafe msock_become($0)
    }
    throw failure(errno)
  }

  /// Runs the program, and waits for its end; its status. When the task is cancelled, the program
  /// gets SIGTERM, what it has started does not, and it is not waited for.
  ///
  /// - Parameter input: What it reads.
  func run(_ descriptors: consuming OwnedFds, input: borrowing OwnedFd) async throws -> Int32 {
    let number = input.withUnsafeFileDescriptor { $0.rawValue }
    let process = unsafe withProgram(descriptors, input: number, process: 0) {
      unsafe msock_start($0)
    }
    // The program's alone now: its end is to be the end of what it was given.
    descriptors.closeAll()
    guard process >= 0 else { throw failure(process) }
    do {
      // It is not taken from the list of processes there, so that its number stays its own.
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
    // A child's number is written there when it is known.
    set["LISTEN_PID"] = process == 0 ? "0000000000" : "\(process)"
    // What a manager has told this process of its own descriptors (`LISTEN_PIDFDID`) is not the
    // program's.
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

  /// The variables as they are, which need not be UTF-8.
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

/// The strings as C has lists of them: NULL at the end.
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
