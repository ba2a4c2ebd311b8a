// SPDX-License-Identifier: Apache-2.0
internal import CRing
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Which driver a loop gets. The configuration decides; if it leaves it open, the environment; if
/// that does too, a probe.
enum DriverSelection {
  /// What the probe found, for good: once for the whole process.
  private enum ProbeResult {
    case unknown
    /// A descriptor came through. Nil until a trial has said what a ring tells about streams.
    case works(StreamTraits?)
    case refused(IOLoop.Driver.Reason)
  }

  private static let probeResult = Mutex(ProbeResult.unknown)

  /// Opens a driver on its loop's thread. Without a ring call if the choice is `epoll`.
  ///
  /// - Throws: ``SocketError``: `invalidConfiguration`, `ioUringUnavailable`, `outOfDescriptors`,
  ///   `outOfMemory`.
  static func open(
    _ configuration: IOLoop.Configuration, inbox: Inbox
  ) throws(SocketError) -> (driver: any Driver, description: IOLoop.Driver) {
    let isOpen = configuration.driver == .automatic
    let choice = isOpen ? try DriverEnvironment.choice() : configuration.driver
    let asked = IOLoop.Driver.Reason(isOpen ? .environment : .requested)
    if choice == .epoll { return (try EpollDriver(inbox: inbox), .epoll(asked)) }
    let limit = min(configuration.aheadLimit, try DriverEnvironment.aheadLimit())
    do throws(RingUnavailable) {
      let ring = try openRing(configuration, limit, wakeNumber: inbox.wakeDescriptor.number)
      let reason = choice == .automatic ? IOLoop.Driver.Reason(.probed) : asked
      let detail = ring.aheadLimit.detail
      return (
        ring,
        .ioUring(IOLoop.Driver.Reason(reason.code, detail: detail), receivingAhead: ring.aheadLimit)
      )
    } catch {
      if choice == .automatic { return (try EpollDriver(inbox: inbox), .epoll(error.reason)) }
      throw SocketError(
        .ioUringUnavailable, .startLoop, errno: error.reason.errno, detail: error.reason.text)
    }
  }

  /// A ring that had worked was refused: the next one proves itself again.
  static func ringWasRefused() {
    probeResult.withLock { if case .works = $0 { $0 = .unknown } }
  }

  /// A ring for this loop; the first of a process proves itself. The probe uses the loop's own
  /// ring: a second one would count against the locked memory, for a while even after its end.
  private static func openRing(
    _ configuration: IOLoop.Configuration, _ limit: AheadLimit, wakeNumber: Int32
  ) throws(RingUnavailable) -> RingDriver {
    if case .refused(let reason) = probeResult.withLock({ $0 }) { throw RingUnavailable(reason) }
    do throws(RingUnavailable) {
      // SAFETY: the ring is this thread's alone; the driver takes it over, and whatever throws
      // destroys it.
      let ring = unsafe try RingSetup.open(entries: UInt32(configuration.ringEntries))
      do throws(RingUnavailable) {
        let traits = unsafe try prove(ring)
        let limit = traits.reportsEnd ? limit : min(limit, .messages)
        return unsafe RingDriver(
          ring: ring, configuration: configuration, limit, streamsReportRest: traits.reportsRest,
          wakeNumber: wakeNumber)
      } catch {
        unsafe cms_ring_destroy(ring)
        throw error
      }
    } catch {
      if error.reason.isLasting { probeResult.withLock { $0 = .refused(error.reason) } }
      throw error
    }
  }

  /// What this ring, which carries descriptors, tells about streams.
  private static func prove(_ ring: OpaquePointer) throws(RingUnavailable) -> StreamTraits {
    switch probeResult.withLock({ $0 }) {
    case .works(let traits?): return traits
    case .works(nil): break
    case .unknown, .refused: unsafe try RingProbe.run(on: ring)
    }
    let traits = unsafe try StreamTrial.run(on: ring)
    probeResult.withLock { $0 = .works(traits) }
    // Where a shortage has kept the trial from an answer, the next loop asks again.
    return traits ?? StreamTraits(reportsEnd: false, reportsRest: false)
  }
}

/// The environment's say in the choice of the driver.
enum DriverEnvironment {
  static let variable = "MESSAGE_SOCKETS_DRIVER"
  static let aheadVariable = "MESSAGE_SOCKETS_AHEAD"

  /// - Throws: ``SocketError/Code/invalidConfiguration`` for a value that is none.
  static func choice() throws(SocketError) -> IOLoop.DriverChoice {
    try choice(named: value(of: variable))
  }

  /// What sockets may receive ahead at most: `everything` (the default), `messages` (streams
  /// nothing) or `nothing`. To see a program as it runs on kernels that can do no more.
  ///
  /// - Throws: ``SocketError/Code/invalidConfiguration`` for another value.
  static func aheadLimit() throws(SocketError) -> AheadLimit {
    let name = value(of: aheadVariable)
    if name.isEmpty { return .everything }
    guard let limit = AheadLimit.allCases.first(where: { "\($0)" == name }) else {
      let allowed = AheadLimit.allCases.map { "\($0)" }.joined(separator: ", ")
      throw SocketError(
        .invalidConfiguration, .startLoop,
        detail: "\(aheadVariable) is \"\(name)\"; possible are \(allowed)")
    }
    return limit
  }

  private static func value(of variable: String) -> String {
    // SAFETY: a C string, copied at once.
    unsafe getenv(variable).map { unsafe String(cString: $0) } ?? ""
  }

  static func choice(named name: String) throws(SocketError) -> IOLoop.DriverChoice {
    if name.isEmpty { return .automatic }
    guard let value = IOLoop.DriverChoice.Value(rawValue: name) else {
      let allowed = IOLoop.DriverChoice.Value.allCases.map(\.rawValue).joined(separator: ", ")
      throw SocketError(
        .invalidConfiguration, .startLoop,
        detail: "\(variable) is \"\(name)\"; possible are \(allowed)")
    }
    return IOLoop.DriverChoice(value: value)
  }
}

/// What a loop's sockets may receive before they are asked to, by multishot receives.
enum AheadLimit: Int, Comparable, CaseIterable, Sendable {
  /// Nothing: the kernel has no multishot receives.
  case nothing
  /// Messages, but not streams: multishot receives do not report the end of a stream.
  case messages
  case everything

  static func < (left: AheadLimit, right: AheadLimit) -> Bool { left.rawValue < right.rawValue }

  /// What to say about a limit that the kernel sets; nil if it sets none.
  var detail: String? {
    switch self {
    case .nothing: "it receives nothing ahead, for want of multishot receives"
    case .messages:
      "streams receive nothing ahead, because this kernel's multishot receives do not report the end of one"
    case .everything: nil
    }
  }
}
