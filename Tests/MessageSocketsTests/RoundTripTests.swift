// SPDX-License-Identifier: Apache-2.0
import CTestDescriptors
import Glibc
import MessageSockets
import SystemPackage
import Testing

extension KernelTests {
  @Suite(.timeLimit(.minutes(1))) struct RoundTrip {
    @Test(arguments: Reception.unix, [0, 1, 2, 3, 4, 5, 252, 253])
    func descriptorsArriveInOrder(reception: Reception, count: Int) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        let sent = try OwnedFds.numbered(0..<count)
        try await left.sendMessage(Array("payload".utf8), descriptors: sent.span)

        let message = try #require(try await reception.next(from: right))
        #expect(message.payload == Array("payload".utf8))
        #expect(message.descriptorCount == count)
        #expect(message.outcome == .complete)
        var received = message.takeDescriptors()
        for number in 0..<count {
          let descriptor = received.takeFirst()!
          #expect(try descriptor.number == number)
          let isCloseOnExec = descriptor.isCloseOnExec
          #expect(isCloseOnExec)
        }
        let untaken = received.count + message.takeDescriptors().count
        #expect(untaken == 0)
        await left.close()
        await right.close()
      }
    }

    /// Compares the kernel's description of an open file: its identity, position and status flags.
    /// The sender's file does not change.
    @Test(arguments: Reception.unix)
    func openFilesOfEveryKindKeepTheirIdentityAndFlags(reception: Reception) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        var files = try openFilesOfEveryKind()
        while let file = files.takeFirst() {
          let expected = try file.systemDescription
          try await left.sendMessage([1], descriptor: file)
          let received = try #require(try await reception.next(from: right)).takeDescriptor()!
          let (arrived, kept) = (try received.systemDescription, try file.systemDescription)
          #expect(arrived == expected)
          #expect(kept == expected)
        }
        await left.close()
        await right.close()
      }
    }

    private func openFilesOfEveryKind() throws -> OwnedFds {
      var files = OwnedFds()
      files.append(try .numbered(7))
      files.append(try .openFile("/proc/self/exe"))
      files.append(try .openFile("/"))
      files.append(try .openFile("/dev/null", O_RDWR | O_NONBLOCK))
      files.append(try .pathOnly("/etc"))
      files.append(try .fifo())
      let pipe = try FileDescriptor.pipe(options: .closeOnExec)
      files.append(OwnedFd(adopting: pipe.readEnd))
      files.append(OwnedFd(adopting: pipe.writeEnd))
      files.append(try .socket(AF_UNIX, Int32(SOCK_STREAM.rawValue)))
      let listener = try OwnedFd.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_NONBLOCK)
      listener.withUnsafeFileDescriptor { #expect(listen($0.rawValue, 1) == 0) }
      files.append(listener)
      files.append(try .memoryFile())
      files.append(try .event())
      files.append(try .made(ctd_epoll()))
      files.append(try .made(ctd_inotify()))
      files.append(try .made(ctd_pidfd(getpid())))
      return files
    }

    @Test(arguments: Reception.unix) func aDroppedMessageClosesItsDescriptors(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        let pipe = try Pipe()
        try await left.sendMessage([1], descriptor: pipe.takeWriter())
        do {
          let message = try await reception.next(from: right)
          #expect(message?.descriptorCount == 1)
          #expect(!pipe.isAtEnd)
        }
        #expect(pipe.isAtEnd)
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: TestedSocket.unix, [false, true])
    func aSocketThatGoesWithUnreadDescriptorsClosesThem(socket: TestedSocket, isClosed: Bool)
      async throws
    {
      try await withDescriptorOracle { _ in
        let pipe = try Pipe()
        do {
          let (left, right) = try socket.makeUnixPair()
          try await left.sendMessage([1], descriptor: pipe.takeWriter())
          #expect(!pipe.isAtEnd)
          if isClosed { await right.close() }
        }
        #expect(pipe.isAtEnd)
      }
    }

    @Test(arguments: Reception.unix) func aSenderThatClosedStillDelivers(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        let file = try OwnedFd.numbered(42)
        try await left.sendMessage([1], descriptor: file)
        await left.close()
        let message = try #require(try await reception.next(from: right))
        #expect(try message.takeDescriptor()?.number == 42)
        if reception.socket != .unixDatagram {
          #expect(try await reception.next(from: right) == nil)
        }
        await right.close()
      }
    }

    @Test(arguments: [false, true]) func descriptorsStandWhereTheyWereSentInAStream(
      receivesAhead: Bool
    ) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let file = try OwnedFd.numbered(0)
        try await left.sendMessage(Array("A".utf8))
        try await left.sendMessage(Array("B".utf8), descriptor: file)
        try await left.sendMessage(Array("C".utf8))
        try await left.sendMessage(Array("D".utf8), descriptor: file)
        try await left.sendMessage(Array("E".utf8))
        await left.close()
        let reception = Reception(socket: .unixStream, isAhead: receivesAhead)
        var seen: [String] = []
        while let message = try await reception.next(from: right) {
          seen.append(
            "\(String(decoding: message.payload, as: UTF8.self))\(message.descriptorCount)")
        }
        #expect(seen == ["AB1", "CD1", "E0"])
      }
    }

    @Test(arguments: [false, true]) func tenMegabytesWithADescriptorArriveWholeAndTheDescriptorOnce(
      receivesAhead: Bool
    ) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixStream.makePair()
        let size = 10 << 20
        let file = try OwnedFd.numbered(7)
        let copy = try file.duplicate()
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        async let sent: Void = left.sendMessage(payload, descriptor: copy)
        let reception = Reception(socket: .unixStream, isAhead: receivesAhead)
        var received: [UInt8] = []
        var descriptors = 0
        while received.count < size {
          let message = try #require(try await reception.next(from: right))
          descriptors += message.descriptorCount
          received += message.payload
        }
        try await sent
        #expect(received == payload)
        #expect(descriptors == 1)
      }
    }

    /// An empty message is not the end, and may carry descriptors.
    @Test(arguments: Reception.unix.filter { $0.socket != .unixStream })
    func emptyMessagesCarryDescriptors(reception: Reception) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        for number in 1...2 {
          try await left.sendMessage([], descriptor: try .numbered(number))
          let message = try #require(try await reception.next(from: right))
          #expect(message.payload == [])
          #expect(try message.takeDescriptor()?.number == number)
        }
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: Reception.messages) func boundariesAreKept(reception: Reception) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try await reception.socket.makePair()
        // As many as fit into the default queue of a Unix datagram socket.
        for length in 1...10 {
          try await left.sendMessage([UInt8](repeating: UInt8(length), count: length))
        }
        for length in 1...10 {
          #expect(try await reception.next(from: right)?.payload.count == length)
        }
        await left.close()
        await right.close()
      }
    }

    @Test(arguments: Reception.messages)
    func aMessageLongerThanTheBufferIsTruncatedAndSaysSo(reception: Reception) async throws {
      var configuration = IOLoop.Configuration()
      configuration.receiveBufferSize = 1024
      try await withOwnLoop(configuration) { loop in
        let (left, right) = try await reception.socket.makePair(on: loop)
        let long = [UInt8](repeating: 1, count: 2000)
        let unix = left as? any UnixSocket
        if let unix {
          try await unix.sendMessage(long, descriptor: try .numbered(3))
        } else {
          try await left.sendMessage(long)
        }
        let error = await errorThrown { _ = try await reception.next(from: right) }
        #expect(error?.code == .messageIncomplete)
        let message = try #require(error?.message)
        #expect(message.payload == [UInt8](repeating: 1, count: 1024))
        #expect(message.outcome.isPayloadTruncated)
        #expect(message.outcome.fullLength == 2000)
        #expect(!message.outcome.isControlTruncated)
        #expect(message.descriptorCount == (unix == nil ? 0 : 1))
        await left.close()
        await right.close()
      }
    }

    /// There is room for the largest set of control messages.
    @Test(arguments: Reception.unix.filter { $0.socket != .unixDatagram })
    func credentialsArriveBesideAllDescriptors(reception: Reception) async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try reception.socket.makeUnixPair()
        try await (right as! any UnixConnection).identifySenders()
        let file = try OwnedFd.numbered(1)
        var many = OwnedFds()
        for _ in 0..<253 { many.append(try file.duplicate()) }
        try await left.sendMessage([1], descriptors: many.span)
        let message = try #require(try await reception.next(from: right))
        #expect(message.outcome == .complete)
        #expect(message.descriptorCount == 253)
        #expect(message.credentials?.processID == getpid())
        await left.close()
        await right.close()
      }
    }

    /// Close-on-exec: a new process has none of our sockets, and none of the descriptors that we
    /// received.
    @Test(arguments: Reception.unix) func aProcessThatIsStartedSeesNoneOfOurs(reception: Reception)
      async throws
    {
      try await withDescriptorOracle { _ in
        // The descriptors that the tests themselves inherited.
        let inherited = Set(openDescriptors().keys.filter { fcntl($0, F_GETFD) & FD_CLOEXEC == 0 })
        let (left, right) = try reception.socket.makeUnixPair()
        let sent = try OwnedFd.numbered(1)
        // The sender's flag stays with the sender.
        sent.withUnsafeFileDescriptor { #expect(fcntl($0.rawValue, F_SETFD, 0) == 0) }
        try await left.sendMessage([1], descriptor: sent)
        sent.withUnsafeFileDescriptor { #expect(fcntl($0.rawValue, F_SETFD, FD_CLOEXEC) == 0) }
        let message = try #require(try await reception.next(from: right))
        #expect(message.descriptorCount == 1)
        let output = try OutputPipe()
        let child = try output.feed {
          try ChildProcess(["ls", "/proc/self/fd"], descriptors: [1: $0])
        }
        let numbers = Set(try output.readToEnd().split(separator: "\n").compactMap { Int32($0) })
        #expect(child.exitStatus() == 0)
        #expect(numbers.isSuperset(of: inherited))
        // The others are its output and the directory that it reads.
        #expect(
          numbers.subtracting(inherited).subtracting([1]).count == 1,
          "\(numbers.subtracting(inherited))")
        await left.close()
        await right.close()
      }
    }
  }
}

extension OwnedFd {
  /// The description of the open file according to proc(5): its name, and `fdinfo` with position,
  /// flags, inode, and the fields of its kind.
  fileprivate var systemDescription: String {
    get throws {
      try withUnsafeFileDescriptor { descriptor in
        var target = [UInt8](repeating: 0, count: 256)
        let length = readlink("/proc/self/fd/\(descriptor.rawValue)", &target, target.count)
        return String(decoding: target[..<max(0, length)], as: UTF8.self) + "\n"
          + (try textOfProcessFile("/proc/self/fdinfo/\(descriptor.rawValue)"))
      }
    }
  }
}
