// SPDX-License-Identifier: Apache-2.0
internal import SystemPackage

extension LoopCore {
  /// Waits on the loop's clock. On the loop's thread, in the caller's isolation.
  nonisolated(nonsending) func sleep(for duration: Duration) async throws {
    try Task.checkCancellation()
    guard isRunning else { throw endError(.sleep) }
    let timer = makeOperation(.timer, socket: nil)
    startTimer(timer, deadline: LoopTime(after: duration))
    let ended = await timer.ended()
    if let error = ended.failure(.sleep) { throw error }
  }
}
