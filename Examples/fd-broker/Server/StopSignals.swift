// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc

/// SIGTERM and SIGINT, taken by a dispatch source instead of ending the process. Keep the value
/// while you wait.
struct StopSignals {
  /// An element for each signal that arrives.
  let arrivals: AsyncStream<Void>
  private let sources: [any DispatchSourceSignal]

  /// Returns once the signals are being watched; any descriptors that Dispatch needs for that are
  /// then open.
  init() async {
    let (arrivals, arrived) = AsyncStream.makeStream(of: Void.self)
    let (registrations, registered) = AsyncStream.makeStream(of: Void.self)
    self.arrivals = arrivals
    sources = [SIGTERM, SIGINT].map { number in
      // Otherwise the signal would also have its default effect.
      _ = signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setRegistrationHandler { registered.yield() }
      source.setEventHandler { arrived.yield() }
      source.resume()
      return source
    }
    var missing = sources.count
    for await _ in registrations {
      missing -= 1
      if missing == 0 { break }
    }
  }

  func cancel() {
    for source in sources { source.cancel() }
  }
}
