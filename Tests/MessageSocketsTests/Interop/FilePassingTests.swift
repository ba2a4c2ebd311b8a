// SPDX-License-Identifier: Apache-2.0
import MessageSockets
import SystemPackage
import Testing

/// The number of messages, and of descriptors in each.
private let amounts = [(1, 1), (1, 3), (1, 253), (5, 2)]

extension KernelTests {
  @Suite struct ForeignPeers {
    /// Reports missing peers where all should be installed; otherwise their tests would just be
    /// skipped.
    @Test(arguments: ForeignPeer.required) func isInstalled(name: String) throws {
      let peer = try #require(
        ForeignPeer(rawValue: name), "MESSAGE_SOCKETS_PEERS names an unknown peer")
      #expect(peer.isAvailable)
    }

    /// The thread of a loop blocks all signals. A program started there would inherit that, and
    /// could not be asked to end.
    @Test func aProgramThatIsStartedOnALoopBlocksNoSignal() async throws {
      try await withDescriptorOracle { _ in
        let output = try OwnedFd.memoryFile()
        let file = output.withUnsafeFileDescriptor { $0.rawValue }
        let program = try ChildProcess(
          ["grep", "SigBlk", "/proc/self/status"], descriptors: [1: file])
        #expect(await program.end() == 0)
        let found = try output.text
        #expect(found == "SigBlk:\t0000000000000000\n")
      }
    }
  }

  /// Python's `socket.send_fds` and `recv_fds`, and the functions with which `multiprocessing`
  /// passes descriptors.
  @Suite(
    .enabled(if: ForeignPeer.python.isAvailable, "python3 3.9 or newer is not installed"),
    .timeLimit(.minutes(1)))
  struct PythonInterop {
    @Test(arguments: amounts) func streamReceives(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixStream.self, .python, ["socket", "stream"], messages: messages, descriptors: descriptors
      ).receiveFromPeer()
    }

    @Test(arguments: amounts) func streamSends(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixStream.self, .python, ["socket", "stream"], messages: messages, descriptors: descriptors
      ).sendToPeer()
    }

    @Test(arguments: amounts) func seqpacketReceives(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixSeqpacket.self, .python, ["socket", "seqpacket"], messages: messages,
        descriptors: descriptors
      )
      .receiveFromPeer()
    }

    @Test(arguments: amounts) func seqpacketSends(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixSeqpacket.self, .python, ["socket", "seqpacket"], messages: messages,
        descriptors: descriptors
      )
      .sendToPeer()
    }

    /// `reduction.send_handle` sends the number of descriptors, 1, as the payload, and
    /// `recv_handle` expects it.
    private let handles = FilePassing(
      UnixStream.self, .python, ["multiprocessing", "stream"], messages: 5, descriptors: 1,
      payload: { _ in [1] })

    @Test func receivesFromMultiprocessing() async throws { try await handles.receiveFromPeer() }
    @Test func sendsToMultiprocessing() async throws { try await handles.sendToPeer() }
  }

  /// Go's `net.UnixConn`: `WriteMsgUnix` and `ReadMsgUnix`.
  @Suite(
    .enabled(if: ForeignPeer.go.isAvailable, "go is not installed, or cannot build"),
    .timeLimit(.minutes(1)))
  struct GoInterop {
    @Test(arguments: amounts) func streamReceives(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixStream.self, .go, ["stream"], messages: messages, descriptors: descriptors
      ).receiveFromPeer()
    }

    @Test(arguments: amounts) func streamSends(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixStream.self, .go, ["stream"], messages: messages, descriptors: descriptors
      ).sendToPeer()
    }

    @Test(arguments: amounts) func seqpacketReceives(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixSeqpacket.self, .go, ["seqpacket"], messages: messages, descriptors: descriptors
      ).receiveFromPeer()
    }

    @Test(arguments: amounts) func seqpacketSends(messages: Int, descriptors: Int) async throws {
      try await FilePassing(
        UnixSeqpacket.self, .go, ["seqpacket"], messages: messages, descriptors: descriptors
      ).sendToPeer()
    }
  }

  /// GLib's `g_unix_connection_send_fd` and `g_unix_connection_receive_fd`, which send one
  /// descriptor with one zero byte.
  @Suite(
    .enabled(if: ForeignPeer.glib.isAvailable, "GLib for python3 (PyGObject) is not installed"),
    .timeLimit(.minutes(1)))
  struct GLibInterop {
    private let files = FilePassing(
      UnixStream.self, .glib, ["stream"], messages: 5, descriptors: 1, payload: { _ in [0] })

    @Test func receives() async throws { try await files.receiveFromPeer() }
    @Test func sends() async throws { try await files.sendToPeer() }
  }
}
