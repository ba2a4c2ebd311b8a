// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import MessageSockets
@testable import SocketEngine

extension KernelTests {
  /// How sockets, errors and refusals describe themselves in logs.
  @Suite struct Descriptions {
    private struct Complaint: Error, CustomStringConvertible { let description: String }

    /// A name that clears the screen, reverses the text and begins a new line.
    private static let hostile =
      "x\u{9B}2J\u{1B}[2Jred\u{202E}gnp.exe\u{2028}2026-11-26 root\r\n\u{7F}\u{2066}\u{85}"
    private static let visible =
      "x\\xc2\\x9b2J\\x1b[2Jred\\xe2\\x80\\xaegnp.exe\\xe2\\x80\\xa82026-11-26 root\\x0d\\x0a\\x7f\\xe2\\x81\\xa6\\xc2\\x85"

    @Test func whatAPeerHasChosenIsVisible() async throws {
      try await withDescriptorOracle { _ in
        let address = try UnixAddress(abstract: "\(Self.hostile)\(getpid())")
        let shown = "@\(Self.visible)\(getpid())"
        #expect("\(address)" == shown)
        // In errors, as the address and as the socket.
        let error = try #require(
          await errorThrown { _ = try await UnixStream.connect(to: address) })
        #expect("\(error)".hasPrefix("connect \(shown): "))
        let listener = try UnixListener<UnixStream>.bind(to: address)
        let client = try await UnixStream.connect(to: address)
        let connection = try await listener.accept()
        try await client.sendMessage([1])
        await connection.close()
        let reset = try #require(await errorThrown { _ = try await client.receiveMessage() })
        #expect("\(reset)".contains("connected to \(shown)"))
        // In descriptions of sockets.
        #expect("\(client)".contains("connected to \(shown)"))
        #expect("\(listener)".contains("at \(shown)"))
        #expect("\(connection)" == "UnixStream(closed at \(shown))")
        await client.close()
        await listener.close()
        // In identities, refusals, and the error that caused a refusal.
        let peer = PeerIdentity(
          processID: 1, userID: 2, groupID: 3,
          securityLabel: SecurityLabel(bytes: Array(Self.hostile.utf8)))
        #expect("\(peer)".hasSuffix("label \(Self.visible)"))
        let refusal = PeerRefusal(peer: peer, error: Complaint(description: "no \(Self.hostile)"))
        #expect("\(refusal)".hasSuffix("label \(Self.visible): no \(Self.visible)"))
        let label = PeerIdentity(
          processID: 1, userID: 2, groupID: 3,
          securityLabel: SecurityLabel(bytes: [0x61, 0x9B, 0xFF]))
        #expect("\(label)".hasSuffix("label a\\x9b\\xff"))
      }
    }

    @Test func socketsSayWhatTheyAre() async throws {
      try await withDescriptorOracle { _ in
        let (left, right) = try UnixSeqpacket.makePair()
        let number = left.channel.socket.number
        #expect("\(left)" == "UnixSeqpacket(descriptor \(number))")
        #expect("\(left as any MessageSocket)" == "\(left)")
        await left.close()
        #expect("\(left)" == "UnixSeqpacket(closed)")
        _ = try await right.release()
        #expect("\(right)" == "UnixSeqpacket(closed)")

        let loopback = InternetAddress(.loopback as IPv4Address, port: 0)
        let listener = try TCPListener.bind(to: loopback)
        #expect(
          "\(listener)"
            == "TCPListener(descriptor \(listener.channel.socket.number) at \(listener.address))")
        let client = try await TCPStream.connect(to: listener.address)
        #expect(
          "\(client)"
            == "TCPStream(descriptor \(client.channel.socket.number) connected to \(listener.address))"
        )
        let connection = try await listener.accept()
        #expect(
          "\(connection)"
            == "TCPStream(descriptor \(connection.channel.socket.number) at \(listener.address))")
        let datagrams = try UDPSocket.bind(to: loopback)
        let bound = try #require(try await datagrams.localAddress())
        #expect(
          "\(datagrams)" == "UDPSocket(descriptor \(datagrams.channel.socket.number) at \(bound))")
        let unix = try UnixDatagram.bind(to: .autobind)
        let chosen = try #require(try await unix.localAddress())
        #expect("\(unix)" == "UnixDatagram(descriptor \(unix.channel.socket.number) at \(chosen))")
        let unixListener = try UnixListener<UnixSeqpacket>.bind(to: .autobind)
        #expect("\(unixListener)".hasPrefix("UnixListener<UnixSeqpacket>(descriptor "))
        #expect("\(unixListener)".contains(" at @"))
        await connection.close()
        await listener.close()
      }
    }

    @Test func deadlinesSayWhatWasWaitedFor() async throws {
      try await withDescriptorOracle { loop in
        let (left, right) = try UnixStream.makePair()
        // (`Task.sleep` would open a timer.)
        @Sendable func waitForCancellation() async throws {
          let (ends, _) = AsyncStream.makeStream(of: Void.self)
          for await _ in ends {}
          try Task.checkCancellation()
        }
        func description(
          for purpose: String? = nil, _ body: @escaping @Sendable () async throws -> Void
        ) async -> String {
          await errorThrown {
            try await loop.withDeadline(.now + .milliseconds(5), for: purpose, body)
          }?.description ?? "none"
        }
        #expect(
          await description { _ = try await right.receiveMessage() }
            == "wait: the deadline passed (waited for receive)")
        #expect(
          await description(for: "the answer") { _ = try await right.receiveMessage() }
            == "wait: the deadline passed (waited for the answer: receive)")
        #expect(
          await description(for: "the answer") { try await waitForCancellation() }
            == "wait: the deadline passed (waited for the answer)")
        #expect(
          await description { try await waitForCancellation() } == "wait: the deadline passed")
        // All calls in progress, even if one deadline is inside another.
        let both = await description {
          async let slept: Void = loop.sleep(for: .seconds(1000))
          _ = try await loop.withDeadline(.now + .seconds(1000)) {
            try await right.receiveMessage()
          }
          try await slept
        }
        #expect(
          both == "wait: the deadline passed (waited for receive, sleep)"
            || both == "wait: the deadline passed (waited for sleep, receive)"
        )
        #expect(
          await errorThrown { _ = try await right.receiveMessage(deadline: .now) }?.description
            == "receive: the deadline passed")
        await left.close()
      }
    }
  }
}
