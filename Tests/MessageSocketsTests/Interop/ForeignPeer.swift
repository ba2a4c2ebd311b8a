// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// A program of another language or library that the tests talk to, in a process of its own.
/// `make interop` installs all.
enum ForeignPeer: String, CaseIterable, Sendable {
  case python, go, glib, node, dbus, libsystemd
  case socketActivation = "systemd-socket-activate"

  /// Those that must be there, by name: what could be installed.
  static let required: [String] =
    getenv("MESSAGE_SOCKETS_PEERS").map {
      String(cString: $0).split(separator: " ").map(String.init)
    } ?? []

  private static let available = Set(allCases.filter { $0.canBeUsed() })

  var isAvailable: Bool { Self.available.contains(self) }

  /// Starts the program with these arguments, after those that it always has.
  func start(_ arguments: [String]) throws -> ChildProcess { try ChildProcess(words + arguments) }

  /// Runs the program beside `body`, with these arguments after those that it always has: see
  /// ``ChildProcess/run(_:environment:descriptors:sourceLocation:_:)``.
  func run(
    _ arguments: [String], environment: [String: String?] = [:], descriptors: [Int32: Int32] = [:],
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (ChildProcess) async throws -> Void
  ) async throws {
    try await ChildProcess.run(
      words + arguments, environment: environment, descriptors: descriptors,
      sourceLocation: sourceLocation, body)
  }

  private var words: [String] {
    switch self {
    case .python: ["python3", Self.script("fd_peer.py")]
    case .go: [Self.goProgram]
    case .glib: [Self.systemPython, Self.script("fd_peer.py"), "glib"]
    case .node: ["node", Self.script("node_peer.js")]
    case .dbus: [Self.systemPython, Self.script("bus_peer.py")]
    case .libsystemd: ["python3", Self.script("notify_peer.py")]
    case .socketActivation: ["systemd-socket-activate"]
    }
  }

  /// What the peer needs: commands that succeed.
  private var probes: [[String]] {
    let glib = [
      Self.systemPython, "-c",
      "import gi; gi.require_version('Gio', '2.0'); from gi.repository import Gio; Gio.UnixConnection",
    ]
    return switch self {
    case .python: [["python3", "-c", "import socket; socket.send_fds; socket.recv_fds"]]
    case .go: [["go", "build", "-o", Self.goProgram, Self.script("fd_peer.go")]]
    case .glib: [glib]
    case .node: [["node", "--version"]]
    case .dbus: [["dbus-daemon", "--version"], glib]
    case .libsystemd:
      [["python3", "-c", "import ctypes; ctypes.CDLL('libsystemd.so.0').sd_notify_barrier"]]
    case .socketActivation: [["systemd-socket-activate", "--version"]]
    }
  }

  private func canBeUsed() -> Bool {
    guard let nowhere = try? FileDescriptor.open("/dev/null", .readWrite, options: .closeOnExec)
    else { return false }
    defer { try? nowhere.close() }
    return probes.allSatisfy { probe in
      let descriptors: [Int32: Int32] = [1: nowhere.rawValue, 2: nowhere.rawValue]
      guard
        let process = try? ChildProcess(
          probe, environment: ["CGO_ENABLED": "0"], descriptors: descriptors)
      else { return false }
      return process.exitStatus() == 0
    }
  }

  /// The system's packages for Python are for the system's Python, and not for one that may stand
  /// before it in `PATH`.
  private static let systemPython = "/usr/bin/python3"

  private static let goProgram = ChildProcess.directory + "/fd_peer_go"

  static func script(_ name: String) -> String {
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/Interop/" + name
  }
}
