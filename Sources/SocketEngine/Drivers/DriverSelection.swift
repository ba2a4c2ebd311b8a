// SPDX-License-Identifier: Apache-2.0
internal import CRing
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Decides which driver a loop gets. The configuration decides; if it leaves the choice open, the
/// environment does; if that does too, a probe.
enum DriverSelection {
  /// The result of the probe, remembered for the whole process.
  private enum ProbeResult {
    case unknown
    /// A descriptor came through the ring. The traits are nil until a trial has found out what a
    /// ring reports about streams.
    case works(StreamTraits?)
    case refused(IOLoop.Driver.Reason)
  }

  private static let probeResult = Mutex(ProbeResult.unknown)

  /// Opens a driver on its loop's thread. Makes no io_uring call if the choice is `epoll`.
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

  /// Notes that a working ring was refused later; the next ring must pass the probe again.
  static func ringWasRefused() {
    probeResult.withLock { if case .works = $0 { $0 = .unknown } }
  }

  /// Opens a ring for this loop; the first ring of a process must pass the probe. The probe uses
  /// the loop's own ring, because a second ring would count against the locked memory even for a
  /// while after it is closed.
  private static func openRing(
    _ configuration: IOLoop.Configuration, _ limit: AheadLimit, wakeNumber: Int32
  ) throws(RingUnavailable) -> RingDriver {
    if case .refused(let reason) = probeResult.withLock({ $0 }) { throw RingUnavailable(reason) }
    do throws(RingUnavailable) {
      // SAFETY: this thread alone uses the ring; either the driver takes it over, or the catch
      // block destroys it.
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

  /// Returns what this ring reports about streams, after making sure that it carries descriptors.
  private static func prove(_ ring: OpaquePointer) throws(RingUnavailable) -> StreamTraits {
    switch probeResult.withLock({ $0 }) {
    case .works(let traits?): return traits
    case .works(nil): break
    case .unknown, .refused: unsafe try RingProbe.run(on: ring)
    }
    let traits = unsafe try StreamTrial.run(on: ring)
    probeResult.withLock { $0 = .works(traits) }
    // If a shortage has kept the trial from an answer, the next loop tries again.
    return traits ?? StreamTraits(reportsEnd: false, reportsRest: false)
  }
}

/// How the environment influences the choice of the driver.
enum DriverEnvironment {
  static let variable = "MESSAGE_SOCKETS_DRIVER"
  static let aheadVariable = "MESSAGE_SOCKETS_AHEAD"

  /// - Throws: ``SocketError/Code/invalidConfiguration`` for a value that names no driver.
  static func choice() throws(SocketError) -> IOLoop.DriverChoice {
    try choice(named: value(of: variable))
  }

  /// The most that sockets may receive ahead: `everything` (the default), `messages` (not streams)
  /// or `nothing`. It shows how a program runs on kernels that support less.
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
    // SAFETY: the C string is copied immediately.
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

/// The limit on what a loop receives with multishot receives before a task asks for it.
enum AheadLimit: Int, Comparable, CaseIterable, Sendable {
  /// Nothing: the kernel has no multishot receives.
  case nothing
  /// Messages, but not streams: multishot receives do not report the end of a stream.
  case messages
  case everything

  static func < (left: AheadLimit, right: AheadLimit) -> Bool { left.rawValue < right.rawValue }

  /// An explanation of the limit for a log; nil if nothing is limited.
  var detail: String? {
    switch self {
    case .nothing: "it receives nothing ahead, for want of multishot receives"
    case .messages:
      "streams receive nothing ahead, because this kernel's multishot receives do not report the end of one"
    case .everything: nil
    }
  }
}
