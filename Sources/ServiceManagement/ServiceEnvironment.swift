// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The variables by which a service manager speaks to a service.
///
/// They are read, and never unset: other threads may read the environment at the same time. A child
/// process would misunderstand them: give it ``forChildren()``.
public enum ServiceEnvironment {
  /// The variables that are meant for one process only.
  static let names = [
    "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID",
    "WATCHDOG_USEC", "MAINPID",
    "MANAGERPID", "MANAGERPIDFDID", "FDSTORE",
  ]

  /// This process's environment without the variables that a service manager has set for this
  /// process alone: `LISTEN_*`, `NOTIFY_SOCKET`, `WATCHDOG_*` and their neighbours. As name and
  /// value.
  public static func forChildren() -> [String: String] {
    current().filter { !names.contains($0.key) }
  }

  /// All variables. If a name occurs twice, the first one counts, as for getenv(3).
  static func current() -> [String: String] {
    var variables: [String: String] = [:]
    var next = unsafe environ
    // SAFETY: `environ` is a list of strings that ends with a null pointer, provided that no thread
    // changes it.
    while let variable = unsafe next.pointee {
      let text = unsafe String(cString: variable)
      if let equals = text.firstIndex(of: "=") {
        let name = String(text[..<equals])
        if variables[name] == nil { variables[name] = String(text[text.index(after: equals)...]) }
      }
      unsafe next += 1
    }
    return variables
  }
}
