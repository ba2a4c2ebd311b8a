// SPDX-License-Identifier: Apache-2.0
internal import MessageSockets
public import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One assignment of a message between a service and its manager: `STATUS=two requests`. The C name
/// is sd_notify(3).
public struct NotifyField: Hashable, Sendable {
  /// The name of the field: `READY`, `STATUS`, `X_SOMETHING_OF_YOURS` …
  public let name: String
  /// Everything behind the `=`, in one line.
  public let value: String

  /// A field of any name.
  ///
  /// - Parameters:
  ///   - name: Without `=`, line feeds and NULs, and not empty.
  ///   - value: Line feeds and NULs become spaces: they would begin another field, or end the
  ///     message.
  /// - Precondition: `name` is a name.
  public init(_ name: String, _ value: String) {
    precondition(
      !name.isEmpty && !name.utf8.contains { $0 == UInt8(ascii: "=") || $0 == 10 || $0 == 0 },
      "\(name) cannot name a field")
    self.name = name
    self.value = String(
      decoding: value.utf8.map { $0 == 10 || $0 == 0 ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
  }

  /// The service has started. `READY=1`.
  public static let ready = NotifyField("READY", "1")
  /// The service has begun to end. `STOPPING=1`.
  public static let stopping = NotifyField("STOPPING", "1")
  /// The service is alive. `WATCHDOG=1`.
  public static let watchdog = NotifyField("WATCHDOG", "1")
  /// The service has found an error in itself, and is to be treated as if its watchdog had run out.
  /// `WATCHDOG=trigger`.
  public static let watchdogTrigger = NotifyField("WATCHDOG", "trigger")
  /// A text for people about what the service is doing. `STATUS=…`.
  public static func status(_ text: String) -> NotifyField { NotifyField("STATUS", text) }
  /// The service's main process is another one. `MAINPID=…`.
  public static func mainProcess(_ processID: Int32) -> NotifyField {
    NotifyField("MAINPID", "\(processID)")
  }
  /// Why the service has failed. `ERRNO=…`.
  public static func errno(_ errno: Errno) -> NotifyField {
    NotifyField("ERRNO", "\(errno.rawValue)")
  }
  /// Starting, running or stopping takes longer: the manager is to wait so long from now on.
  /// `EXTEND_TIMEOUT_USEC=…`.
  public static func extendTimeout(_ duration: Duration) -> NotifyField {
    NotifyField("EXTEND_TIMEOUT_USEC", "\(duration.microseconds)")
  }
  /// The watchdog is to wait so long from now on. `WATCHDOG_USEC=…`.
  public static func watchdogInterval(_ duration: Duration) -> NotifyField {
    NotifyField("WATCHDOG_USEC", "\(duration.microseconds)")
  }

  /// The service has begun to load its configuration again; `READY=1` says that it has finished.
  /// `RELOADING=1` with `MONOTONIC_USEC=…`, the time of now, by which the manager tells reloads
  /// apart.
  public static func reloading() -> [NotifyField] {
    var time = timespec()
    // SAFETY: `time` is a local variable; the clock always exists.
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return [
      NotifyField("RELOADING", "1"),
      NotifyField("MONOTONIC_USEC", "\(time.tv_sec * 1_000_000 + time.tv_nsec / 1000)"),
    ]
  }
}

extension NotifyField: CustomStringConvertible {
  public var description: String { "\(name)=\(value)" }

  /// Encodes a message with these fields.
  static func encode(_ fields: [NotifyField]) -> [UInt8] {
    Array(fields.map(\.description).joined(separator: "\n").utf8)
  }

  /// Decodes the fields of a message. Like systemd, it ignores lines that are no fields. Nil if
  /// there are more than `maximum` lines.
  static func decode(_ bytes: [UInt8], maximum: Int = 64) -> [NotifyField]? {
    let lines = bytes.split(separator: 10, maxSplits: maximum)
    guard lines.count <= maximum else { return nil }
    return lines.compactMap { line in
      guard let equals = line.firstIndex(of: UInt8(ascii: "=")), equals > line.startIndex,
        !line.contains(0)
      else { return nil }
      return NotifyField(
        String(decoding: line[..<equals], as: UTF8.self),
        String(decoding: line[line.index(after: equals)...], as: UTF8.self))
    }
  }
}

extension Duration {
  /// The duration in whole microseconds; 0 if it is negative.
  var microseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .max : max(0, whole + attoseconds / 1_000_000_000_000)
  }
}
