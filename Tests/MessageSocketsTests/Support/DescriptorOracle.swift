// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import MessageSocketsTesting
import Testing

@testable import SocketEngine

/// All tests that open descriptors. They run one after the other, because the oracle inspects the
/// whole process.
@Suite(.serialized) enum KernelTests {}

/// Runs `body` on a loop that all tests share, and checks that afterwards exactly the descriptors
/// are open that were open before.
func withDescriptorOracle(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: (IOLoop) async throws -> Void
) async throws {
  let loop = try TestLoop.shared.get()
  let before = allDescriptors()
  try await loop.run { try await body(loop) }
  // A socket that was dropped during a multishot receive closes when the kernel has confirmed that
  // receive's end.
  for _ in 0..<1000 where await loop.operationsInKernel > 0 {}
  let inUse = await loop.operationsInUse
  #expect(inUse == 0, "operations that were not released", sourceLocation: sourceLocation)
  // Another thread closes the descriptors that a policy refuses.
  await untilOpenDescriptors(are: before, sourceLocation: sourceLocation)
}

/// Runs `body` with another soft limit of open files; nil leaves the limit unchanged.
func withDescriptorLimit(_ count: Int?, _ body: () async throws -> Void) async throws {
  var before = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
  var changed = before
  if let count { changed.rlim_cur = min(rlim_t(count), before.rlim_max) }
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &changed)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before) }
  try await body()
}

/// Runs `body` on its own loop, shuts the loop down, and checks that none of its descriptors stays
/// open.
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

/// Waits until exactly the expected descriptors are open. A loop's thread ends, and closes its own
/// descriptors, shortly after the last reference to the loop was dropped.
func untilOpenDescriptors(
  are expected: OpenDescriptors, sourceLocation: SourceLocation = #_sourceLocation
) async {
  let difference = await OpenDescriptors.difference(
    from: expected, ignoring: OpenDescriptors.isThreadStatus, waiting: .seconds(10))
  #expect(difference == nil, sourceLocation: sourceLocation)
}

enum TestLoop {
  /// Runs on the driver that `MESSAGE_SOCKETS_DRIVER` names, or else one that the machine allows:
  /// run the tests with `MESSAGE_SOCKETS_DRIVER=epoll` as well.
  static let shared = Result { try IOLoop() }

  static var isOnRing: Bool { (try? shared.get())?.driver.kind == .ioUring }
  /// Whether `messages` uses a multishot receive with a window.
  static var receivesAhead: Bool { (try? shared.get())?.driver.receivesAhead ?? false }
  static var receivesStreamsAhead: Bool {
    (try? shared.get())?.driver.receivesStreamsAhead ?? false
  }

  /// What the kernel supports, whatever driver and limits the tests use. Determined by its version
  /// and not by the library's own trial, which is under test.
  static let kernelReceivesAhead = KernelRelease.running >= KernelRelease(6, 0)
  static let unixStreamsHaveOutOfBandBytes = KernelRelease.running >= KernelRelease(5, 15)
  /// Nil if unknown: Linux 6.18 got the fix (a68ed2df7213) some time after 6.18.15.
  static let kernelReportsEndsOfStreams: Bool? =
    switch KernelRelease.running {
    case KernelRelease(6, 17)..<KernelRelease(6, 18, 16): false
    case KernelRelease(6, 18, 16)..<KernelRelease(6, 18, 44): nil
    case KernelRelease(6, 19)..<KernelRelease(6, 19, 9): false
    default: true
    }
}

/// A kernel's version, as `uname -r` shows it.
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

/// The targets of all open descriptors, by number.
func openDescriptors() -> [Int32: String] { allDescriptors().targets }

/// All open descriptors, the timers of the thread pool included.
func allDescriptors() -> OpenDescriptors {
  OpenDescriptors(ignoring: OpenDescriptors.isThreadStatus)
}
