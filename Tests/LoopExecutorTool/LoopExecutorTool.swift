// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MessageSockets
import MessageSocketsExecutor
import Synchronization

/// For tests: a program whose tasks run on the loops, which affects the whole process. Prints one
/// line for each result.
@main
struct LoopExecutorTool {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "kinds": try LoopExecutor.main { try await Kinds.find() }
    case "hops": try LoopExecutor.main { try await Hops.count() }
    case "held-up": try LoopExecutor.main { try await HeldUp.find() }
    case "sleeps": try LoopExecutor.main { try await Sleeps.find() }
    case "crowd": try LoopExecutor.main { try await Crowd.find() }
    case "error":
      do { try LoopExecutor.main { throw SomeError() } } catch {
        report("thrown", "\(error is SomeError)")
      }
    case "late":
      let pair = try UnixSeqpacket.makePair()
      findRefusal()
      // The program continues without the pool.
      waitOnThePool {
        try await pair.0.sendMessage([1])
        report("received", "\(try await pair.1.receiveMessage()?.payload == [1])")
        report("on a loop", "\(try isOnLoop())")
      }
    case "installed":
      try LoopExecutor.install()
      try LoopExecutor.install()
      report("installed", "\(LoopExecutor.isInstalled)")
      findRefusal()
      waitOnThePool { report("on a loop", "\(try isOnLoop())") }
    default: fatalError("an unknown part")
    }
  }

  struct SomeError: Error {}

  private static func findRefusal() {
    do {
      try LoopExecutor.main { report("ran", "true") }
    } catch let error as SocketError { report("code", "\(error.code == .notSupported)") } catch {
      report("code", "\(error)")
    }
  }

  private typealias Work = @Sendable @concurrent () async throws -> Void

  private static func waitOnThePool(_ body: @escaping Work) {
    let ended = DispatchSemaphore(value: 0)
    Task.detached {
      do { try await body() } catch { report("error", "\(error)") }
      ended.signal()
    }
    ended.wait()
  }
}

func report(_ name: String, _ value: String) { print("\(name): \(value)") }

func isOnLoop() throws -> Bool { try IOLoopGroup.shared().loops.contains { $0.isCurrent } }

/// The main thread's ID equals the process ID.
func isMainThread() -> Bool { readLink("/proc/thread-self").hasSuffix("/\(getpid())") }

private func readLink(_ path: String) -> String {
  var target = [UInt8](repeating: 0, count: 256)
  let length = readlink(path, &target, target.count)
  return String(decoding: target[..<max(0, length)], as: UTF8.self)
}
