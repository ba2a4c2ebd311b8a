// SPDX-License-Identifier: Apache-2.0
// A separate process for tests: restricts itself, makes a loop, performs one task, and prints its
// results, one "name: value" per line.
//
//   DriverProbeTool [RESTRICTION …] [choice=io_uring|epoll] [entries=COUNT] [TASK]
//
// RESTRICTION, in order: refuse=ERRNO|kill threads=COUNT memlock=BYTES descriptors=COUNT user=ID
// accept=ERRNO (the first three accepts fail) TASK: shortage=COUNT|in-flight start=now peers=NAME
// task=closing|in-flight|accept|stream-end|send-end|vsock|vsock-stream|vsock-seqpacket|sandbox|
// sandbox-enter; otherwise it sends a descriptor over the loop.
import CProcessRestrictions
import Glibc
import MessageSockets
import SystemPackage

// The process ends even if something hangs.
alarm(60)

var configuration = IOLoop.Configuration()
var task = ProbeTask.roundTrip
for argument in CommandLine.arguments.dropFirst() {
  let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
  guard parts.count == 2 else { fatalError("not understood: \(argument)") }
  var status: Int32 = 0
  switch parts[0] {
  case "refuse": status = cpr_refuse_io_uring(parts[1] == "kill" ? 0 : Int32(parts[1])!)
  case "memlock": status = cpr_limit_locked_memory(UInt64(parts[1])!)
  case "descriptors": status = cpr_limit_descriptors(UInt64(parts[1])!)
  case "user": status = cpr_become_user(UInt32(parts[1])!)
  case "accept": status = cpr_fail_accepts(Int32(parts[1])!, 3)
  case "entries": configuration.ringEntries = Int(parts[1])!
  case "choice": configuration.driver = parts[1] == "io_uring" ? .ioUring : .epoll
  case "shortage": task = .shortage(freeNumbers: UInt64(parts[1]))
  // Runs as a user other than root, because the limit does not apply to root.
  case "threads":
    status = cpr_limit_threads(UInt64(parts[1])!)
  // Start the loop before there is any other thread.
  case "start":
    do throws(SocketError) {
      _ = try IOLoop(configuration)
      print("error: none")
    } catch {
      print("error: \(error.code)")
      print("isAgain: \(error.errno == .resourceTemporarilyUnavailable)")
    }
    exit(0)
  case "peers": task = .refusePeers(of: parts[1])
  case "task":
    if parts[1] == "stream-end" { task = .streamEnd; break }
    if parts[1] == "send-end" { task = .sendEnd; break }
    if parts[1] == "vsock" { task = .vsock; break }
    if parts[1].hasPrefix("vsock-") {
      task = .vsockEcho(isStream: parts[1] == "vsock-stream")
      break
    }
    if parts[1] == "closing" {
      task = .closeWithoutThreads
      break
    }
    task =
      parts[1] == "accept"
      ? .accept
      : parts[1].hasPrefix("sandbox")
        ? .enterSandbox(refusingAll: parts[1] == "sandbox") : .fillSocket
  default: fatalError("not understood: \(argument)")
  }
  guard status == 0 else {
    print("restriction: \(argument) [\(status)]")
    exit(0)
  }
}

do {
  try await task.run(configuration)
} catch let error as SocketError {
  print("error: \(error.code)")
  print("description: \(error)")
}
