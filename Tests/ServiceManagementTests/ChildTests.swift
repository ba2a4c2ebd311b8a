// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import Synchronization
import SystemPackage
import Testing

@testable import ServiceManagement

/// What a child reported about itself.
private struct ChildReport {
  let descriptors: [String]
  let rights: [String: String]

  init(_ control: UnixSeqpacket) async throws {
    let message = try #require(
      try await control.receiveMessage(deadline: .now + .seconds(60 * slowness)))
    let lines = String(decoding: message.payload, as: UTF8.self).split(separator: "\n")
    descriptors = lines.filter { $0.hasPrefix("fd ") }.map(String.init)
    rights = Dictionary(
      uniqueKeysWithValues: lines.filter { !$0.hasPrefix("fd ") }.map { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return (String(parts[0]), parts.dropFirst().first.map { $0.trimmingSpaces } ?? "")
      })
  }
}

extension Substring {
  fileprivate var trimmingSpaces: String { String(drop { $0 == " " }) }
}

extension ServiceTool {
  /// The program for a child of any user, wherever this checkout is: it is run by a descriptor, the
  /// first one that is passed.
  fileprivate static func childCommand(_ arguments: [String] = ["child"]) throws -> ServiceCommand {
    var command = ServiceCommand("/proc/self/fd/3", arguments: arguments)
    try command.descriptors.append(.openFile(path, 0o10000000 /* O_PATH */), named: "program")
    return command
  }
}

/// What /proc/self/fd says about a descriptor of this process.
private func link(_ number: Int32) -> String {
  var target = [UInt8](repeating: 0, count: 4096)
  let length = readlink("/proc/self/fd/\(number)", &target, target.count)
  return String(decoding: target[..<max(0, length)], as: UTF8.self)
}

/// The end of a control socket: nil, or a reset if the child left messages unread.
private func findsTheEnd(_ control: UnixSeqpacket) async throws -> Bool {
  do {
    return try await control.receiveMessage(deadline: .now + .seconds(60 * slowness)) == nil
  } catch let error as SocketError where error.code == .connectionReset {
    return true
  }
}

/// The error that a send to a child that has ended throws.
private func sendError(_ control: UnixSeqpacket) async -> SocketError.Code? {
  do {
    try await control.sendMessage([1])
    return nil
  } catch { return (error as? SocketError)?.code }
}

private let isRoot = getuid() == 0
private let needsRoot: Comment = "another user's rights need root"

extension KernelTests {
  @Suite(.timeLimit(.minutes(2))) struct ControlSocketTests {
    @Test func parentAndChildTalk() async throws {
      try await withDescriptorOracle { _ in
        let command = try ServiceTool.childCommand()
        // Each start has a pair of its own.
        let (first, control) = try command.start(control: UnixSeqpacket.self)
        let (second, otherControl) = try command.start(control: UnixSeqpacket.self)
        for (child, control) in [(first, control), (second, otherControl)] {
          _ = try await ChildReport(control)
          try await control.sendMessage([0], descriptor: .temporary("text"))
          let answer = try await control.receiveMessage()
          #expect(
            String(decoding: answer?.payload ?? [], as: UTF8.self) == "\(child.processID):text")
        }
        await control.close()
        #expect(try await first.end() == .exited(0))
        // The end of one is not the other's.
        try await otherControl.sendMessage([0])
        #expect(try await otherControl.receiveMessage() != nil)
        await otherControl.close()
        #expect(try await second.end() == .exited(0))
      }
    }

    /// By the child's own /proc/self/fd: descriptors that are open here without close-on-exec, with
    /// low and high numbers, are not in the child.
    @Test func theChildHasNothingElse() async throws {
      try await hasNothingElse(rights: nil)
    }

    @Test(.enabled(if: isRoot, needsRoot)) func aChildOfAnotherUserHasNothingElse() async throws {
      try await hasNothingElse(rights: .user(65534, group: 65534))
    }

    private func hasNothingElse(rights: ServiceRights?) async throws {
      try await withDescriptorOracle { _ in
        let careless = [dup(2), fcntl(2, F_DUPFD, 300), fcntl(2, F_DUPFD, 1000)]
        defer { for number in careless { close(number) } }
        #expect(careless.allSatisfy { $0 >= 0 && fcntl($0, F_GETFD) == 0 })
        let listener = try TCPListener.bind(to: InternetAddress(.loopback as IPv4Address, port: 0))
        var command = try ServiceTool.childCommand()
        command.rights = rights
        try await command.descriptors.append(duplicateOf: listener, named: "web")
        try command.descriptors.append(.numbered(1), named: "file")
        let (child, control) = try command.start(control: UnixSeqpacket.self)
        let report = try await ChildReport(control)
        var expected = (0..<Int32(3)).map { "fd \($0) \(link($0))" }
        for index in command.descriptors.span.indices {
          let target = command.descriptors.span[index].withUnsafeFileDescriptor {
            link($0.rawValue)
          }
          expected.append("fd \(3 + index) \(target)")
        }
        #expect(report.descriptors.prefix(6) == expected[...])
        #expect(report.descriptors.count == 7)
        #expect(report.descriptors.last?.hasPrefix("fd 6 socket:") == true)
        await control.close()
        #expect(try await child.end() == .exited(0))
        await listener.close()
      }
    }

    /// Another thread opens descriptors without close-on-exec at any moment of the start.
    @Test func descriptorsThatAreOpenedDuringTheStart() async throws {
      try await withDescriptorOracle { _ in
        let opener = CarelessOpener()
        let command = try ServiceTool.childCommand()
        for _ in 0..<10 {
          let (child, control) = try command.start(control: UnixSeqpacket.self)
          let report = try await ChildReport(control)
          #expect(report.descriptors.count == 5, "\(report.descriptors)")
          await control.close()
          #expect(try await child.end() == .exited(0))
        }
        #expect(opener.stop() > 0)
      }
    }

    /// The child ends without having taken its descriptors.
    @Test(arguments: [("exit 3", 3), ("kill -9 $$", -9)])
    func aChildThatEndsAtOnce(script: String, status: Int32) async throws {
      try await withDescriptorOracle { _ in
        let command = ServiceCommand("/bin/sh", arguments: ["-c", script])
        let (child, control) = try command.start(control: UnixSeqpacket.self)
        #expect(try await findsTheEnd(control))
        #expect(await sendError(control) == .peerClosed)
        #expect(try await child.end() == (status < 0 ? .signalled(-status) : .exited(status)))
        await control.close()
      }
    }

    /// It ends with messages and descriptors in its queue, which it has never read.
    @Test func aChildThatDiesBeforeItReads() async throws {
      try await withDescriptorOracle { _ in
        let command = ServiceCommand("/bin/sleep", arguments: ["1000"])
        let (child, control) = try command.start(control: UnixSeqpacket.self)
        let pipe = try Pipe()
        try await control.sendMessage([1], descriptor: pipe.takeWriter())
        let waiting = Task { try await findsTheEnd(control) }
        try child.signal(SIGKILL)
        #expect(try await child.end() == .signalled(SIGKILL))
        #expect(try await waiting.value)
        let code = await sendError(control)
        #expect(code == .peerClosed || code == .connectionReset)
        #expect(pipe.comesToAnEnd)
        await control.close()
      }
    }

    /// A task that waits for the child is cancelled; then the parent ends the child by closing.
    @Test func aCancelledParentEndsItsChild() async throws {
      try await withDescriptorOracle { _ in
        let (child, control) = try ServiceTool.childCommand().start(control: UnixSeqpacket.self)
        _ = try await ChildReport(control)
        let waiting = Task { try await control.receiveMessage() }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        let ending = Task { try await child.end() }
        await control.close()
        #expect(try await ending.value == .exited(0))
      }
    }

    @Test(arguments: [
      ("/nowhere/program", Errno.noSuchFileOrDirectory), ("/etc/passwd", .permissionDenied),
      ("/proc/self/fd/3", .permissionDenied),
    ])
    func whatCannotBeStarted(program: String, errno: Errno) async throws {
      try await withDescriptorOracle { _ in
        let pipe = try Pipe()
        var command = ServiceCommand(FilePath(program))
        try command.descriptors.append(pipe.takeWriter(), named: "file")
        #expect { try command.start(control: UnixSeqpacket.self) } throws: {
          let error = $0 as? ServiceError
          return error?.code == .startFailed && error?.errno == errno
            && error?.detail.contains("the program could not be run") == true
        }
        #expect(!pipe.isAtEnd)
        _ = consume command
        // No process holds a copy.
        #expect(pipe.isAtEnd)
        #expect(waitpid(-1, nil, WNOHANG) == -1)
      }
    }

    @Test func aNameThatIsTaken() async throws {
      try await withDescriptorOracle { _ in
        var command = ServiceCommand("/bin/true")
        try command.descriptors.append(.numbered(1), named: "control")
        for name in ["control", "a:b", ""] {
          #expect { try command.start(control: UnixSeqpacket.self, named: name) } throws: {
            ($0 as? ServiceError)?.code == .invalidName
          }
        }
      }
    }

    /// Each step of a start finds no descriptor number left once.
    @Test func numbersRunOut() async throws {
      try await withDescriptorOracle { _ in
        var command = ServiceCommand("/bin/true")
        try command.descriptors.append(.numbered(1), named: "file")
        let top = fcntl(2, F_DUPFD_CLOEXEC, 0)
        close(top)
        var outcomes: [String] = []
        for spare in 0..<12 {
          var started: (process: ServiceProcess, control: UnixSeqpacket)?
          // Numbers below `top` may be free, but then `top` would be one of them.
          try await withDescriptorLimit(Int(top) + spare) {
            do {
              started = try command.start(control: UnixSeqpacket.self)
              outcomes.append("started")
            } catch let error as SocketError {
              outcomes.append("\(error.code)")
            } catch let error as ServiceError {
              outcomes.append("\(error.code) \(error.errno == .tooManyOpenFiles)")
            }
          }
          if let started {
            #expect(try await findsTheEnd(started.control))
            #expect(try await started.process.end() == .exited(0))
            await started.control.close()
          }
        }
        #expect(outcomes.first == "outOfDescriptors")
        #expect(outcomes.contains("startFailed true"))
        #expect(outcomes.last == "started")
        #expect(
          Set(outcomes).isSubset(of: ["outOfDescriptors", "startFailed true", "started"]),
          "\(outcomes)")
        #expect(waitpid(-1, nil, WNOHANG) == -1)
      }
    }
  }

  @Suite(.timeLimit(.minutes(2))) struct ServiceRightsTests {
    @Test(.enabled(if: isRoot, needsRoot)) func anotherUser() async throws {
      try await withDescriptorOracle { _ in
        // Groups that the child must not keep.
        let groups: [gid_t] = [7, 4711]
        var before = [gid_t](repeating: 0, count: 65536)
        let count = getgroups(Int32(before.count), &before)
        try #require(setgroups(groups.count, groups) == 0)
        defer { setgroups(Int(count), before) }

        var command = try ServiceTool.childCommand()
        command.rights = .user(65533, group: 65532)
        let (child, control) = try command.start(control: UnixSeqpacket.self)
        let rights = try await ChildReport(control).rights
        #expect(rights["Uid"] == "65533 65533 65533 65533")
        #expect(rights["Gid"] == "65532 65532 65532 65532")
        #expect(rights["Groups"] == "")
        #expect(rights["NoNewPrivs"] == "1")
        for kind in ["CapPrm", "CapEff", "CapAmb"] {
          #expect(rights[kind].flatMap { UInt64($0, radix: 16) } == 0, "\(kind)")
        }
        #expect(rights["becomes root"] == "false")
        await control.close()
        #expect(try await child.end() == .exited(0))
        // This process has what it had.
        #expect(getuid() == 0 && getgroups(0, nil) == 2)
      }
    }

    @Test func theSameUserWithoutNewPrivileges() async throws {
      try await withDescriptorOracle { _ in
        var command = try ServiceTool.childCommand()
        command.rights = .noNewPrivileges
        let (child, control) = try command.start(control: UnixSeqpacket.self)
        let rights = try await ChildReport(control).rights
        #expect(rights["Uid"]?.hasPrefix("\(getuid()) \(geteuid()) ") == true)
        #expect(rights["NoNewPrivs"] == "1")
        await control.close()
        #expect(try await child.end() == .exited(0))
      }
    }

    /// The number -1 asks the kernel to change nothing: the child would stay root.
    @Test(arguments: [
      (UInt32.max, 65534, "its user could not be set to 4294967295"),
      (65534, UInt32.max, "its group could not be set to 4294967295"),
    ])
    func idsThatAreNone(user: UInt32, group: UInt32, step: String) async throws {
      try await withDescriptorOracle { _ in
        let pipe = try Pipe()
        var command = ServiceCommand("/bin/true")
        try command.descriptors.append(pipe.takeWriter(), named: "file")
        command.rights = .user(user, group: group)
        #expect { try command.start(control: UnixSeqpacket.self) } throws: {
          let error = $0 as? ServiceError
          return error?.code == .startFailed && error?.errno == .invalidArgument
            && error?.detail.contains(step) == true
        }
        _ = consume command
        #expect(pipe.isAtEnd)
        #expect(waitpid(-1, nil, WNOHANG) == -1)
      }
    }

    /// A process that is not root cannot give a child another user, and says so.
    @Test(.enabled(if: isRoot, needsRoot)) func rightsThatCannotBeGiven() async throws {
      try await withDescriptorOracle { _ in
        var command = try ServiceTool.childCommand(["start-as", "0"])
        command.rights = .user(65534, group: 65534)
        let lines = try await ServiceTool.run(&command)
        #expect(
          lines == [
            "startFailed: /bin/true could not be started: its supplementary groups could not be"
              + " removed [Operation not permitted]",
            "leaked: false", "child left: false",
          ])
      }
    }
  }
}

/// A thread that opens and closes descriptors without close-on-exec.
private final class CarelessOpener: Sendable {
  private let ends = Atomic(false)
  private let count = Atomic(0)
  private let thread: Atomic<UInt>

  init() {
    thread = Atomic(0)
    var started = pthread_t()
    let context = Unmanaged.passRetained(self).toOpaque()
    pthread_create(
      &started, nil,
      { context in
        let opener = Unmanaged<CarelessOpener>.fromOpaque(context!).takeRetainedValue()
        while !opener.ends.load(ordering: .acquiring) {
          let number = dup(2)
          if number >= 0 { close(number) }
          opener.count.add(1, ordering: .relaxed)
        }
        return nil
      }, context)
    thread.store(UInt(started), ordering: .releasing)
  }

  /// Ends the thread; returns how many descriptors it has opened.
  func stop() -> Int {
    ends.store(true, ordering: .releasing)
    pthread_join(pthread_t(thread.load(ordering: .acquiring)), nil)
    return count.load(ordering: .acquiring)
  }
}
