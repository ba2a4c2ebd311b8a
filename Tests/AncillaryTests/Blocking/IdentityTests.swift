// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// What the kernel reports about the sender.
  @Suite struct IdentityTests {
    static func enable(_ option: Int32, on socket: borrowing OwnedFd) -> Bool {
      var on: Int32 = 1
      return socket.withUnsafeFileDescriptor {
        unsafe setsockopt($0.rawValue, SOL_SOCKET, option, &on, socklen_t(MemoryLayout<Int32>.size))
          == 0
      }
    }

    @Test func credentialsArriveBesideDescriptors() throws {
      let canaries = Canaries(253)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      #expect(try BlockingTests.send([1], canaries.writers, on: sender) == 1)
      var buffer = AncillaryDataBuffer(capacity: 2048)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let result = try MessageReceiver(unsafe span.mutableBytes).receive(
        on: receiver, ancillary: &data)
      #expect(result.flags.isEmpty)
      #expect(data.descriptors.count == 253)
      #expect(
        data.credentials == Credentials(processID: getpid(), userID: getuid(), groupID: getgid()))
    }

    @Test func credentialsFromBeforeTheOptionAreUnknown() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try BlockingTests.send([1], OwnedFds(), on: sender) == 1)
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      var buffer = AncillaryDataBuffer(capacity: 256)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      _ = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      #expect(data.credentials == Credentials(processID: nil, userID: nil, groupID: nil))
    }

    @Test(arguments: SocketKind.allCases, [true, false]) func twoKindsInEitherOrder(
      _ kind: SocketKind, _ rightsFirst: Bool
    ) throws {
      let canaries = Canaries(2)
      let expected = OwnedFdsTests.identities(of: canaries.writers)
      var pair = socketPair(kind)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      let credentials = Credentials(processID: getpid(), userID: getuid(), groupID: getgid())
      var outgoing = AncillaryDataBuffer()
      if !rightsFirst { outgoing.append(credentials) }
      try outgoing.append(descriptors: canaries.writers.span)
      if rightsFirst { outgoing.append(credentials) }
      let payload: [UInt8] = [1]
      _ = try MessageSender(payload.span).ancillaryData(outgoing.ancillaryData()).send(on: sender)
      var buffer = AncillaryDataBuffer(capacity: 256)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let result = try MessageReceiver(unsafe span.mutableBytes).receive(
        on: receiver, ancillary: &data)
      #expect(!result.flags.contains(.controlTruncated))
      #expect(data.credentials == credentials)
      let arrived = data.takeDescriptors()
      #expect(OwnedFdsTests.identities(of: arrived) == expected)
    }

    /// Credentials that the sender names itself; a privileged sender may name any user.
    @Test(
      .enabled(
        if: hasCapabilities(.setUser, .setGroup), "only a privileged process may name another user")
    )
    func namedCredentials() throws {
      var pair = socketPair(.seqpacket)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      let credentials = Credentials(processID: getpid(), userID: 1234, groupID: 5678)
      var buffer = AncillaryDataBuffer()
      buffer.append(credentials)
      let payload: [UInt8] = [1]
      _ = try MessageSender(payload.span).ancillaryData(buffer.ancillaryData()).send(on: sender)
      let arrived = try arrival(on: receiver)
      #expect(try arrived.control.messages.first(Credentials.self) == credentials)
    }

    /// `SO_INQ` (84), Linux 6.17.
    private static var hasQueuedByteCounts: Bool {
      var pair = socketPair(.stream)
      let socket = pair.takeFirst()!
      return enable(84, on: socket)
    }

    @Test(
      .enabled(
        if: Self.hasQueuedByteCounts,
        "the kernel has no SO_INQ for Unix-domain streams (Linux 6.17)"))
    func queuedBytesAreCounted() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isEnabled = Self.enable(84, on: receiver)
      #expect(isEnabled)
      #expect(try BlockingTests.send([1, 2, 3, 4, 5], OwnedFds(), on: sender) == 5)
      let first = try arrival(on: receiver, size: 2)
      #expect(try first.control.messages.first(QueuedByteCount.self) == QueuedByteCount(3))
      let second = try arrival(on: receiver, size: 8)
      #expect(try second.control.messages.first(QueuedByteCount.self) == QueuedByteCount(0))
    }

    /// Whether a security module that labels sockets is running.
    private static var hasLabels: Bool {
      guard let modules = try? RFC3430Tests.text("/sys/kernel/security/lsm") else { return false }
      return modules.contains("selinux") || modules.contains("smack")
    }

    @Test(.enabled(if: Self.hasLabels, "no security module that labels sockets (SELinux, Smack)"))
    func labelOfTheSender() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isOn = Self.enable(SO_PASSSEC, on: receiver)
      #expect(isOn)
      #expect(try BlockingTests.send([1], OwnedFds(), on: sender) == 1)
      let arrived = try arrival(on: receiver)
      let label = try #require(try arrived.control.messages.first(SecurityLabel.self))
      let own = try RFC3430Tests.text("/proc/self/attr/current").filter { $0 != "\0" && $0 != "\n" }
      #expect(label.text == own)
    }

    /// AF_UNIX_OOB, Linux 5.15.
    private static var hasOutOfBand: Bool {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      return (try? sender.sendMessage([1], descriptors: Span(), options: .outOfBand)) == 1
    }

    /// On a Unix-domain stream, a descriptor that is sent with only the out-of-band byte does not
    /// arrive. The kernel keeps it for a while, but not longer than the socket.
    @Test(
      .enabled(
        if: Self.hasOutOfBand,
        "the kernel has no out-of-band data on Unix-domain streams (Linux 5.15)"))
    func descriptorsOfTheOutOfBandByteAreLost() throws {
      var canary = Canary()
      do {
        var pair = socketPair(.stream)
        let sender = pair.takeFirst()!
        let receiver = pair.takeFirst()!
        let writer = canary.take()
        #expect(try sender.sendMessage([1], descriptor: writer, options: .outOfBand) == 1)
        var memory: [UInt8] = [0, 0]
        var span = memory.mutableSpan
        let received = try receiver.receiveMessage(into: &span, upTo: 1, options: .outOfBand)
        #expect(received.byteCount == 1)
        #expect(received.descriptors.count == 0)
      }
      let released = canary.isReleased()
      #expect(released)
    }

    /// The kernel's answer to a sender with these false credentials; `nil` if it allows them.
    static func refusal(of credentials: Credentials) -> Errno? {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      var buffer = AncillaryDataBuffer()
      buffer.append(credentials)
      let payload: [UInt8] = [1]
      do throws(Errno) {
        _ = try MessageSender(payload.span).ancillaryData(buffer.ancillaryData()).send(on: sender)
        return nil
      } catch { return error }
    }

    @Test(
      .enabled(
        if: hasCapabilities(.administer), "without privileges every other process is refused alike")
    )
    func deadProcessCannotBeNamed() {
      let dead = Credentials(processID: .max, userID: getuid(), groupID: getgid())
      #expect(Self.refusal(of: dead) == .noSuchProcess)
    }

    @Test(
      .enabled(
        if: geteuid() != 0 && !hasCapabilities(.administer), "a privileged process may name others")
    )
    func othersCannotBeNamed() {
      let own = Credentials(processID: getpid(), userID: getuid(), groupID: getgid())
      #expect(Self.refusal(of: own) == nil)
      #expect(
        Self.refusal(of: Credentials(processID: getppid(), userID: getuid(), groupID: getgid()))
          == .notPermitted)
      #expect(
        Self.refusal(of: Credentials(processID: getpid(), userID: 0, groupID: getgid()))
          == .notPermitted)
      #expect(
        Self.refusal(of: Credentials(processID: getpid(), userID: getuid(), groupID: 0))
          == .notPermitted)
    }

    /// `SO_PASSPIDFD` (76), Linux 6.5.
    private static var hasProcessDescriptors: Bool {
      var pair = socketPair(.stream)
      let socket = pair.takeFirst()!
      return enable(76, on: socket)
    }

    @Test(.enabled(if: Self.hasProcessDescriptors, "the kernel has no SO_PASSPIDFD"))
    func processDescriptorIsOwned() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isEnabled = Self.enable(76, on: receiver)
      #expect(isEnabled)
      #expect(try BlockingTests.send([1], OwnedFds(), on: sender) == 1)
      var buffer = AncillaryDataBuffer(capacity: 256)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      _ = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      let isOwned = try data.takeProcess() != nil
      #expect(isOwned)
      let again = try data.takeProcess() == nil
      #expect(again)
    }
  }
}
