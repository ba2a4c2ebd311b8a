// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import MessageSocketsTesting
import Testing

@testable import SocketEngine

/// All tests that open descriptors: one after the other, because the oracle looks at the whole
/// process.
@Suite(.serialized) enum KernelTests {}

/// Runs `body` on a loop that all tests share, and checks that afterwards exactly the descriptors
/// are open that were open before.
func withDescriptorOracle(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: (IOLoop) async throws -> Void
) async throws {
  let loop = try TestLoop.shared.get()
  let before = allDescriptors()
  try await loop.run { try await body(loop) }
  // A socket that was dropped while the kernel received ahead for it closes when the kernel has
  // confirmed the end of that.
  for _ in 0..<1000 where await loop.operationsInKernel > 0 {}
  let inUse = await loop.operationsInUse
  #expect(inUse == 0, "operations that nobody gave back", sourceLocation: sourceLocation)
  // What a policy has closed, another thread closes.
  await untilOpenDescriptors(are: before, sourceLocation: sourceLocation)
}

/// Runs `body` with another soft limit of open files; nil leaves it as it is.
func withDescriptorLimit(_ count: Int?, _ body: () async throws -> Void) async throws {
  var before = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
  var changed = before
  if let count { changed.rlim_cur = min(rlim_t(count), before.rlim_max) }
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &changed)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before) }
  try await body()
}

/// Runs `body` on a loop of its own, shuts that down, and checks that nothing of it stays open.
func withOwnLoop(
  _ configuration: IOLoop.Configuration = IOLoop.Configuration(),
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: (IOLoop) async throws -> Void
) async throws {
  let before = allDescriptors()
  try await useLoop(configuration, body)
  await untilOpenDescriptors(are: before, sourceLocation: sourceLocation)
}

private func useLoop(_ configuration: IOLoop.Configuration, _ body: (IOLoop) async throws -> Void)
  async throws
{
  let loop = try IOLoop(configuration)
  try await body(loop)
  await loop.shutdown()
}

/// A loop's thread ends, and closes its own descriptors, when nobody can reach the loop any more: a
/// moment after the last reference went.
func untilOpenDescriptors(
  are expected: OpenDescriptors, sourceLocation: SourceLocation = #_sourceLocation
) async {
  let difference = await OpenDescriptors.difference(
    from: expected, ignoring: { _ in false }, waiting: .seconds(10))
  #expect(difference == nil, sourceLocation: sourceLocation)
}

enum TestLoop {
  /// On the driver that `MESSAGE_SOCKETS_DRIVER` names, or that the machine allows: run the tests
  /// with `MESSAGE_SOCKETS_DRIVER=epoll`, too.
  static let shared = Result { try IOLoop() }

  static var isOnRing: Bool { (try? shared.get())?.driver.kind == .ioUring }
  /// Whether `messages` is a multishot receive, and a window used.
  static var receivesAhead: Bool { (try? shared.get())?.driver.receivesAhead ?? false }
  static var receivesStreamsAhead: Bool {
    (try? shared.get())?.driver.receivesStreamsAhead ?? false
  }

  /// What the kernel can do, whichever driver the tests run on and whatever they are told to use of
  /// it: by its number, and not by the library's own trial, which is to be checked.
  static let kernelReceivesAhead = KernelRelease.running >= KernelRelease(6, 0)
  static let unixStreamsHaveOutOfBandBytes = KernelRelease.running >= KernelRelease(5, 15)
  /// Nil where that is not known: Linux 6.18 got the mend (a68ed2df7213) some time after 6.18.15.
  static let kernelReportsEndsOfStreams: Bool? =
    switch KernelRelease.running {
    case KernelRelease(6, 17)..<KernelRelease(6, 18, 16): false
    case KernelRelease(6, 18, 16)..<KernelRelease(6, 18, 44): nil
    case KernelRelease(6, 19)..<KernelRelease(6, 19, 9): false
    default: true
    }
}

/// The number of a kernel, as `uname -r` shows it.
struct KernelRelease: Comparable {
  let numbers: [Int]

  init(_ numbers: Int...) { self.numbers = numbers }

  private init(text: String) {
    numbers = text.split { $0 == "." || $0 == "-" || $0 == "+" }.prefix(3).map {
      Int($0.prefix { $0.isNumber }) ?? 0
    }
  }

  static let running: KernelRelease = {
    var name = utsname()
    uname(&name)
    return KernelRelease(
      text: withUnsafeBytes(of: &name.release) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      })
  }()

  static func < (left: KernelRelease, right: KernelRelease) -> Bool {
    left.numbers.lexicographicallyPrecedes(right.numbers)
  }
}

/// The numbers of all open descriptors, and what they are.
func openDescriptors() -> [Int32: String] { allDescriptors().targets }

/// All that is open, timers included.
func allDescriptors() -> OpenDescriptors { OpenDescriptors(ignoring: { _ in false }) }
