// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets

/// Runs `body`, and throws if afterwards other descriptors are open than before.
///
/// ```swift
/// @Test func aRefusedFileIsClosed() async throws {
///   try await withDescriptorCheck {
///     let (client, server) = try UnixSeqpacket.makePair()
///     …
///   }
/// }
/// ```
/// The check does not depend on a test framework: it throws a ``DescriptorDifference``, which
/// names each descriptor. It covers the whole process, so tests that use it must not run at the
/// same time as others: `swift test --no-parallel`, or `.serialized` around all of them.
///
/// The shared loops of the process, and the timers of Swift's thread pool, start before the first
/// look and do not count. A loop that `body` makes has to be shut down in it.
///
/// - Parameters:
///   - isIgnored: Returns `true` for targets to leave out; see ``OpenDescriptors/init(ignoring:)``.
///   - patience: How long to wait for descriptors that close a moment after `body` has returned.
///   - body: What is tested.
/// - Returns: What `body` returns.
/// - Throws: What `body` throws, if there is no difference; otherwise ``DescriptorDifference``. An
///   error that owns a message, as `messageIncomplete` does, is thrown without a comparison:
///   catch it in `body`.
public func withDescriptorCheck<R>(
  ignoring isIgnored: (String) -> Bool = OpenDescriptors.isOfThreadPool,
  waiting patience: Duration = .seconds(5), _ body: () async throws -> R
) async throws -> R {
  // If the loops cannot start, `body` finds out by itself.
  _ = try? IOLoopGroup.shared()
  let before = await settledDescriptors(isIgnored)
  let result: Result<R, any Error>
  do { result = .success(try await body()) } catch {
    // An error may own descriptors, as `messageIncomplete` does. Those belong to the caller.
    if (error as? SocketError)?.message != nil { throw error }
    result = .failure(error)
  }
  let difference = await OpenDescriptors.difference(
    from: before, ignoring: isIgnored, waiting: patience)
  if let difference { throw difference }
  return try result.get()
}

/// The open descriptors once they no longer change: earlier work may still be closing some.
private func settledDescriptors(_ isIgnored: (String) -> Bool) async -> OpenDescriptors {
  var last: OpenDescriptors?
  for _ in 0..<1000 {
    // The first sleep also starts the timers of Swift's thread pool.
    try? await Task.sleep(for: .milliseconds(1))
    let now = OpenDescriptors(ignoring: isIgnored)
    if now == last { return now }
    last = now
  }
  return OpenDescriptors(ignoring: isIgnored)
}
