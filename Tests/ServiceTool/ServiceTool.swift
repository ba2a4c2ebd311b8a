// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import ServiceManagement
import SystemPackage

/// A service for the tests to start:
///
///     ServiceTool activation NAME=KIND …     takes passed descriptors, and says what they are
///     ServiceTool echo NAME=KIND             serves one connection of a passed listener
///     ServiceTool notify COMMAND …           speaks to its manager
///     ServiceTool hand-over CONTROL PATH     serves over TCP and at PATH; can be replaced
///     ServiceTool app                        serves the passed listener "web" until SIGTERM
///     ServiceTool driver                     shows which driver its loops have
///     ServiceTool child                      answers its parent over its control socket
///     ServiceTool start-as USER              starts a child as that user
///     ServiceTool closed                     listens nowhere, and shows which descriptors it has
@main
struct ServiceTool {
  static func main() async {
    // The process ends even if something hangs.
    alarm(150)
    let arguments = Array(CommandLine.arguments.dropFirst(2))
    do {
      switch CommandLine.arguments.dropFirst().first {
      case "activation": takeActivation(arguments)
      case "echo": try await echoOnce(arguments[0])
      case "notify": try await notify(arguments)
      case "driver": say("driver: \(try IOLoop().driver.kind)")
      case "hand-over": try await EchoServer(arguments).run()
      case "child": try await serveParent()
      case "start-as": startAs(UInt32(arguments[0]) ?? 0)
      case "app": try await App().run()
      default: showDescriptors()
      }
    } catch {
      say("error: \(error)")
      exit(1)
    }
  }
}

/// Prints one line to standard output, unbuffered.
func say(_ line: String) { _ = try? FileDescriptor.standardOutput.writeAll((line + "\n").utf8) }

private func showDescriptors() {
  let open = (0..<Int32(256)).filter { fcntl($0, F_GETFD) >= 0 }
  say("open: \(open.map { "\($0)" }.joined(separator: " "))")
  say("pid: \(getpid()) \(getenv("LISTEN_PID").map { String(cString: $0) } ?? "none")")
  var blocked = sigset_t()
  sigprocmask(SIG_BLOCK, nil, &blocked)
  say("signals blocked: \((1..<Int32(32)).filter { sigismember(&blocked, $0) == 1 }.count)")
  var old = sigaction()
  sigaction(SIGPIPE, nil, &old)
  say("SIGPIPE default: \(unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 0)")
  if let delay = getenv("EXIT_WITH") { exit(atoi(delay)) }
}

// MARK: Activation

private func takeActivation(_ wanted: [String]) {
  do {
    var passed = try Activation.takeDescriptors()
    say("names: \(passed.names.joined(separator: " "))")
    let areCloseOnExec = (3..<3 + Int32(passed.count)).allSatisfy {
      fcntl($0, F_GETFD) & FD_CLOEXEC != 0
    }
    say("close-on-exec: \(areCloseOnExec)")
    for request in wanted {
      let parts = request.split(separator: "=").map(String.init)
      do {
        say("\(parts[0]): \(try describe(&passed, parts[0], parts[1]))")
      } catch { say("\(parts[0]): \(error)") }
    }
    say("left: \(passed.names.joined(separator: " "))")
  } catch { say("error: \(error)") }
  do {
    _ = try Activation.takeDescriptors()
    say("again: yes")
  } catch { say("again: \(error.code)") }
  say(
    "LISTEN_FDS here: \(getenv("LISTEN_FDS") != nil), for children: \(ServiceEnvironment.forChildren()["LISTEN_FDS"] != nil)"
  )
  // All descriptors that were passed are closed by now.
  say(
    "open: \((3..<Int32(64)).filter { fcntl($0, F_GETFD) >= 0 && fcntl($0, F_GETFD) & FD_CLOEXEC == 0 }.count)"
  )
}

private func describe(_ passed: inout NamedDescriptors, _ name: String, _ kind: String) throws
  -> String
{
  switch kind {
  case "tcp":
    let listener: TCPListener = try passed.takeListener(named: name)
    return "tcp \(listener.address)"
  case "stream":
    return "stream \(try passed.takeListener(named: name, of: UnixStream.self).address)"
  case "seqpacket":
    return "seqpacket \(try passed.takeListener(named: name, of: UnixSeqpacket.self).address)"
  case "datagram":
    let _: UnixDatagram = try passed.takeDatagram(named: name)
    return "datagram"
  case "udp":
    let _: UDPSocket = try passed.takeDatagram(named: name)
    return "udp"
  case "connection":
    let _: UnixStream = try passed.takeConnection(named: name)
    return "connection"
  case "tcp-connection":
    let _: TCPStream = try passed.takeConnection(named: name)
    return "tcp-connection"
  default: return "\(try passed.takeDescriptor(named: name).facts.kind)"
  }
}

private func echoOnce(_ request: String) async throws {
  var passed = try Activation.takeDescriptors()
  let parts = request.split(separator: "=").map(String.init)
  switch parts[1] {
  case "tcp":
    let listener: TCPListener = try passed.takeListener(named: parts[0])
    say("listener: \(listener.address)")
    try await answer(try await listener.accept())
  case "stream": try await answerOne(passed.takeListener(named: parts[0], of: UnixStream.self))
  default: try await answerOne(passed.takeListener(named: parts[0], of: UnixSeqpacket.self))
  }
}

private func answerOne<Connection: UnixConnection>(_ listener: UnixListener<Connection>)
  async throws
{
  say("listener: \(listener.address)")
  let connection = try await listener.accept()
  if let message = try await connection.receiveMessage() {
    let descriptors = message.takeDescriptors()
    try await connection.sendMessage(message.payload, descriptors: descriptors.span)
  }
  await connection.close()
}

private func answer(_ connection: TCPStream) async throws {
  try await connection.sendMessage(try await connection.receiveMessage()?.payload ?? [])
  await connection.close()
}

// MARK: Notifications

private func notify(_ commands: [String]) async throws {
  let manager = ServiceNotifier()
  for command in commands {
    let parts = command.split(separator: "=", maxSplits: 1).map(String.init)
    switch parts[0] {
    case "ready": say("\(try await manager.notify(.ready, .status("ready")))")
    case "reloading": say("\(try await manager.notify(NotifyField.reloading()))")
    case "barrier": say("barrier \(try await manager.barrier(deadline: .now + .seconds(30)))")
    case "store":
      var files = NamedDescriptors()
      for number in 0..<(Int(parts[1]) ?? 0) {
        try files.append(try numberedFile(number), named: "files")
      }
      say("\(try await manager.store(files, watchingForEnd: false))")
    case "remove": say("\(try await manager.removeStored(named: parts[1]))")
    default: try await manager.keepAlive()
    }
  }
}

func numberedFile(_ number: Int) throws -> OwnedFd {
  var name = Array("/tmp/service-tool-XXXXXX".utf8CString)
  let file = OwnedFd(adopting: FileDescriptor(rawValue: mkstemp(&name)))
  unlink(name)
  file.withUnsafeFileDescriptor { _ = fcntl($0.rawValue, F_SETFD, FD_CLOEXEC) }
  _ = try file.withUnsafeFileDescriptor { try $0.writeAll("\(number)".utf8) }
  return file
}
