// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

/// A program of another language or library that the tests talk to, in a separate process.
/// `make interop` installs all of them.
enum ForeignPeer: String, CaseIterable, Sendable {
  case python, go, glib, node, dbus, libsystemd, memory, weston
  case socketActivation = "systemd-socket-activate"
  case asyncvarlink
  /// The sd-varlink and varlinkctl of systemd 257 and of the newest release in Debian.
  case sdVarlink257 = "sd-varlink-257"
  case sdVarlink = "sd-varlink"
  case systemdNotify = "systemd-notify"
  case systemdAnalyze = "systemd-analyze"

  /// The names of the peers that must be installed.
  static let required: [String] =
    getenv("MESSAGE_SOCKETS_PEERS").map {
      String(cString: $0).split(separator: " ").map(String.init)
    } ?? []

  private static let available = Set(allCases.filter { $0.canBeUsed() })

  var isAvailable: Bool { Self.available.contains(self) }

  /// Starts the program with its fixed arguments, followed by these.
  func start(_ arguments: [String]) throws -> ChildProcess { try ChildProcess(words + arguments) }

  /// Runs the program concurrently with `body`, with its fixed arguments followed by these; see
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
    case .asyncvarlink: [Self.varlinkPeers + "python/bin/python", Self.script("varlink_peer.py")]
    case .sdVarlink257, .sdVarlink: words(program: "sd_varlink_peer")
    case .systemdNotify: ["systemd-notify"]
    case .systemdAnalyze: ["systemd-analyze"]
    case .memory: ["python3", Self.script("memory_peer.py")]
    case .weston: ["weston-simple-shm"]
    }
  }

  /// Commands that succeed if the peer can run.
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
    case .asyncvarlink: [[Self.varlinkPeers + "python/bin/python", "-c", "import asyncvarlink"]]
    case .sdVarlink257, .sdVarlink:
      [words(program: "usr/bin/varlinkctl") + ["--version"], ["test", "-x", words.last!]]
    case .systemdNotify: [["systemd-notify", "--version"]]
    case .systemdAnalyze: [["systemd-analyze", "--version"]]
    case .weston: [["sh", "-c", "command -v weston-simple-shm"]]
    case .memory:
      [["python3", "-c", "import os; os.memfd_create"], ["sh", "-c", "command -v Xvfb"]]
    }
  }

  /// A program of a Debian release that is unpacked below `.build`, run with the C library of that
  /// release.
  func words(program: String) -> [String] {
    let root = Self.varlinkPeers + (self == .sdVarlink257 ? "trixie" : "sid")
    let libraries = "\(root)/usr/lib/\(Self.architecture)-linux-gnu"
    let loader = Self.architecture == "x86_64" ? "ld-linux-x86-64.so.2" : "ld-linux-aarch64.so.1"
    return [
      "\(libraries)/\(loader)", "--library-path", "\(libraries):\(libraries)/systemd",
      "\(root)/\(program)",
    ]
  }

  /// The directory to which `Tests/Interop/varlink_peers` unpacks them.
  private static let varlinkPeers =
    String(script("").dropLast("Tests/Interop/".count)) + ".build/varlink-peers/"

  #if arch(x86_64)
    private static let architecture = "x86_64"
  #else
    private static let architecture = "aarch64"
  #endif

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

  /// The system's Python packages belong to the system's Python, not to another one that may come
  /// first in `PATH`.
  private static let systemPython = "/usr/bin/python3"

  private static let goProgram = ChildProcess.directory + "/fd_peer_go"

  static func script(_ name: String) -> String {
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/Interop/" + name
  }
}
