// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// What the kernel reports about packets, over UDP on the loopback interface.
  @Suite struct PacketTests {
    /// Sends and receives a datagram with this payload and control data, and reads the kernel's
    /// wall clock before and after.
    static func exchange(
      _ payload: [UInt8], _ control: ControlMessageBuffer = ControlMessageBuffer(),
      from sender: borrowing InternetSocket, to address: InternetAddress,
      on receiver: borrowing InternetSocket
    ) throws -> Arrival {
      try send(payload, control, to: address, on: sender)
      let arrived = try arrival(on: receiver)
      #expect(arrived.payload == payload)
      return arrived
    }

    /// The wall clock, in nanoseconds.
    static func now() -> Int64 {
      var now = timespec()
      _ = unsafe clock_gettime(CLOCK_REALTIME, &now)
      return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
    }

    static func nanoseconds(_ time: Timestamp) -> Int64 {
      time.seconds * 1_000_000_000 + time.nanoseconds
    }

    /// SO_TIMESTAMP, SO_TIMESTAMPNS, and the forms with wide seconds (Linux 5.1).
    @Test(arguments: [(29, 1000), (35, 1), (63, 1000), (64, 1)] as [(Int32, Int64)])
    func timeOfArrival(_ option: Int32, _ unit: Int64) throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      set(SOL_SOCKET, option, on: receiver)
      let before = Self.now()
      let arrived = try Self.exchange([1], from: sender, to: address, on: receiver)
      let time = Self.nanoseconds(try #require(try arrived.control.messages.first(Timestamp.self)))
      #expect(time >= before - before % unit && time <= Self.now())
      #expect(arrived.control.map(\.kind) == [ControlMessageKind(level: SOL_SOCKET, type: option)])
    }

    /// SO_TIMESTAMPING and SO_TIMESTAMPING_NEW, with SOF_TIMESTAMPING_RX_SOFTWARE and _SOFTWARE.
    @Test(arguments: [37, 65] as [Int32]) func timesOfArrival(_ option: Int32) throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      set(SOL_SOCKET, option, 1 << 3 | 1 << 4, on: receiver)
      // The kernel starts to take timestamps shortly after it is asked to.
      for _ in 0..<100_000 {
        let before = Self.now()
        let arrived = try Self.exchange([2], from: sender, to: address, on: receiver)
        guard let times = try arrived.control.messages.first(PacketTimestamps.self) else {
          continue
        }
        let time = Self.nanoseconds(try #require(times.software))
        #expect(time >= before && time <= Self.now())
        #expect(times.hardware == nil)
        return
      }
      Issue.record("no time in all of these packets")
    }

    /// A timestamp that one message requests comes back on the error queue: when the message was
    /// sent (0), and when it entered the scheduler (1).
    @Test(arguments: [(.sendSoftware, 0), (.schedule, 1)] as [(TimestampRequest, UInt32)])
    func timeOfSending(_ request: TimestampRequest, _ report: UInt32) throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      // SOF_TIMESTAMPING_SOFTWARE and _OPT_TSONLY.
      set(SOL_SOCKET, 37, 1 << 4 | 1 << 11, on: sender)
      var control = ControlMessageBuffer()
      control.append(request)
      let before = Self.now()
      _ = try Self.exchange([3], control, from: sender, to: address, on: receiver)
      let hasError = sender.withUnsafeFileDescriptor { descriptor in
        var entry = pollfd(fd: descriptor.rawValue, events: 0, revents: 0)
        return unsafe poll(&entry, 1, 5000) == 1 && entry.revents & Int16(POLLERR) != 0
      }
      #expect(hasError)
      let reported = try arrival(on: sender, options: .errorQueue)
      #expect(reported.flags.contains(.errorQueue))
      let error = try #require(try reported.control.messages.first(ExtendedError.self))
      #expect(error.origin == .timestamping)
      #expect(error.errno == .noMessage)
      #expect(error.info == report)
      let times = try #require(try reported.control.messages.first(PacketTimestamps.self))
      let time = Self.nanoseconds(try #require(times.software))
      #expect(time >= before && time <= Self.now())
    }

    /// A full receive buffer drops datagrams, and the next datagram that fits reports how many.
    @Test func droppedDatagramsAreCounted() throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      set(SOL_SOCKET, SO_RCVBUF, 4096, on: receiver)
      set(SOL_SOCKET, 40, on: receiver)  // SO_RXQ_OVFL
      let count = 200
      for _ in 0..<count { try send([UInt8](repeating: 1, count: 100), to: address, on: sender) }
      var received = 0
      while true {
        do { _ = try arrival(on: receiver, options: .doNotWait) } catch Errno
          .resourceTemporarilyUnavailable
        { break }
        received += 1
      }
      try send([2], to: address, on: sender)
      var last = try arrival(on: receiver)
      while last.payload != [2] {
        received += 1
        last = try arrival(on: receiver)
      }
      #expect(received < count)
      let dropped = try last.control.messages.first(DroppedMessageCount.self)
      #expect(dropped == DroppedMessageCount(UInt32(count - received)))
    }

    /// Whether the kernel supports an option of datagram sockets.
    static func knows<T: BitwiseCopyable>(_ option: Int32, _ value: T) -> Bool {
      let socket = internetSocket()
      return setOption(SOL_SOCKET, option, to: value, on: socket)
    }

    @Test(
      .enabled(if: knows(75, 1 as Int32), "the kernel has no SO_RCVMARK (Linux 5.19)"),
      .enabled(if: knows(36, 1 as Int32), "may not set marks (CAP_NET_ADMIN or CAP_NET_RAW)"))
    func marksBothWays() throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      set(SOL_SOCKET, 75, on: receiver)  // SO_RCVMARK
      var control = ControlMessageBuffer()
      control.append(RoutingMark(0x3430))
      let marked = try Self.exchange([4], control, from: sender, to: address, on: receiver)
      #expect(try marked.control.messages.first(RoutingMark.self) == RoutingMark(0x3430))
      let plain = try Self.exchange([5], from: sender, to: address, on: receiver)
      #expect(try plain.control.messages.first(RoutingMark.self) == RoutingMark(0))
    }

    /// `struct sock_txtime`.
    struct TransmitTimeOption: BitwiseCopyable {
      var clock: Int32 = 1  // CLOCK_MONOTONIC
      var flags: UInt32 = 0
    }

    /// The kernel accepts the time only on a socket that has the option, which shows that it reads
    /// the time. Loopback has no scheduler, so the packet leaves immediately.
    @Test(.enabled(if: knows(61, TransmitTimeOption()), "the kernel has no SO_TXTIME (Linux 4.19)"))
    func transmitTimeIsTaken() throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      var now = timespec()
      _ = unsafe clock_gettime(CLOCK_MONOTONIC, &now)
      var control = ControlMessageBuffer()
      control.append(
        TransmitTime(nanoseconds: UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)))
      #expect(throws: Errno.invalidArgument) { try send([6], control, to: address, on: sender) }
      let isSet = setOption(SOL_SOCKET, 61, to: TransmitTimeOption(), on: sender)
      #expect(isSet)
      _ = try Self.exchange([6], control, from: sender, to: address, on: receiver)
    }

    /// A protocol number for experiments (RFC 3692).
    static let rawProtocol: Int32 = 253

    static var hasRawSockets: Bool {
      let number = socket(
        AF_INET, Int32(bitPattern: SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), rawProtocol)
      return number >= 0 && close(number) == 0
    }

    @Test(.enabled(if: hasRawSockets, "may not open raw sockets (CAP_NET_RAW)")) func rawSockets()
      throws
    {
      let receiver = internetSocket(AF_INET, SOCK_RAW, protocol: Self.rawProtocol)
      let sender = internetSocket(AF_INET, SOCK_RAW, protocol: Self.rawProtocol)
      for option in [8, 12] as [Int32] { set(0, option, on: receiver) }  // IP_PKTINFO, IP_RECVTTL
      let loopback = InternetAddress(.loopback, port: 0)
      let payload = littleEndian(getpid()) + littleEndian(Self.now())
      var control = ControlMessageBuffer()
      control.append(HopLimit(.v4, 3))
      #expect(try send(payload, control, to: loopback, on: sender) == 12)
      // Raw sockets receive the packets of all processes.
      var arrived: Arrival
      repeat {
        arrived = try arrival(on: receiver)
      } while Array(arrived.payload.dropFirst(20)) != payload
      #expect(arrived.payload[0] == 0x45)
      #expect((arrived.payload[8], arrived.payload[9]) == (3, UInt8(Self.rawProtocol)))
      #expect(try arrived.control.messages.first(HopLimit.self) == HopLimit(.v4, 3))
      #expect(try arrived.control.messages.first(PacketInfoV4.self)?.destination == .loopback)
    }

    @Test func moreJoinsDatagrams() throws {
      let receiver = internetSocket()
      let sender = internetSocket()
      let address = bind(receiver, to: InternetAddress(.loopback, port: 0))
      try send([1, 2], to: address, on: sender, options: .more)
      try send([3], to: address, on: sender, options: [.confirm, .doNotRoute])
      let payload = try arrival(on: receiver).payload
      #expect(payload == [1, 2, 3])
    }

    /// The urgent byte of a TCP stream is not part of the stream.
    @Test func outOfBandIsApart() throws {
      var pair = tcpPair()
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let payload: [UInt8] = [1, 2, 3]
      #expect(try MessageSender(payload.span).options(.outOfBand).send(on: sender) == 3)
      let isUrgent = receiver.withUnsafeFileDescriptor { descriptor in
        var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLPRI), revents: 0)
        return unsafe poll(&entry, 1, 5000) == 1 && entry.revents & Int16(POLLPRI) != 0
      }
      #expect(isUrgent)
      let urgent = try arrival(on: receiver, options: .outOfBand)
      #expect(urgent.payload == [3])
      #expect(urgent.flags.contains(.outOfBand))
      let plain = try arrival(on: receiver)
      #expect(plain.payload == [1, 2])
    }
  }
}
