// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc

/// SIGTERM and SIGINT, taken by a dispatch source instead of ending the process. Keep the value
/// while you wait.
struct StopSignals {
  /// An element for each signal that arrives.
  let arrivals: AsyncStream<Void>
  private let sources: [any DispatchSourceSignal]

  init() async {
    let (arrivals, arrived) = AsyncStream.makeStream(of: Void.self)
    self.arrivals = arrivals
    sources = [SIGTERM, SIGINT].map { number in
      // Otherwise the signal would also have its default effect.
      _ = signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler { arrived.yield() }
      source.resume()
      return source
    }
  }

  func cancel() {
    for source in sources { source.cancel() }
  }
}
