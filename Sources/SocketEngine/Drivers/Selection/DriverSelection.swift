// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// Which driver a loop gets. The configuration decides; if it leaves it open, the environment; if
/// that does too, a probe.
enum DriverSelection {
  /// What the probe found, for good: once for the whole process.
  private enum Verdict {
    case unknown
    case works
    case refused(IOLoop.Driver.Reason)
  }

  private static let verdict = Mutex(Verdict.unknown)

  /// Opens a driver on its loop's thread. Without a ring call if the choice is `readiness`.
  ///
  /// - Throws: ``SocketError``: `invalidConfiguration`, `ioUringUnavailable`, `outOfDescriptors`,
  ///   `outOfMemory`.
  static func open(
    _ configuration: IOLoop.Configuration, wakeNumber: Int32
  ) throws(SocketError) -> (driver: any Driver, description: IOLoop.Driver) {
    let isOpen = configuration.driver == .automatic
    let choice = isOpen ? try DriverEnvironment.choice() : configuration.driver
    let asked = IOLoop.Driver.Reason(isOpen ? .environment : .requested)
    switch choice.value {
    case .readiness: return (try ReadinessDriver(wakeNumber: wakeNumber), .readiness(asked))
    case .ioUring:
      do throws(RingRefusal) {
        return (try openRing(configuration, wakeNumber: wakeNumber), .ioUring(asked))
      } catch {
        throw SocketError(
          .ioUringUnavailable, .startLoop, errno: error.reason.errno, detail: error.reason.text)
      }
    case .automatic:
      do throws(RingRefusal) {
        return (
          try openRing(configuration, wakeNumber: wakeNumber),
          .ioUring(IOLoop.Driver.Reason(.probed))
        )
      } catch {
        return (try ReadinessDriver(wakeNumber: wakeNumber), .readiness(error.reason))
      }
    }
  }

  /// A ring that had worked was refused: the next one proves itself again.
  static func ringWasRefused() {
    verdict.withLock { if case .works = $0 { $0 = .unknown } }
  }

  /// A ring for this loop; the first of a process proves itself. The probe uses the loop's own
  /// ring: a second one would count against the locked memory, for a while even after its end.
  private static func openRing(_ configuration: IOLoop.Configuration, wakeNumber: Int32)
    throws(RingRefusal) -> RingDriver
  {
    if case .refused(let reason) = verdict.withLock({ $0 }) { throw RingRefusal(reason) }
    do throws(RingRefusal) {
      let ring = unsafe try RingSetup.open(entries: UInt32(configuration.ringEntries))
      if case .unknown = verdict.withLock({ $0 }) { unsafe try RingProbe.runOrDestroy(ring) }
      verdict.withLock { $0 = .works }
      return unsafe RingDriver(ring: ring, configuration: configuration, wakeNumber: wakeNumber)
    } catch {
      if !error.reason.isTemporary { verdict.withLock { $0 = .refused(error.reason) } }
      throw error
    }
  }
}
