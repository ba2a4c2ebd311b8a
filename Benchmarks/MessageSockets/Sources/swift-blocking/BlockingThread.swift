// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Harness

/// A thread that may block. A failure ends the process.
final class BlockingThread {
  private var handle = pthread_t()

  private final class Body {
    let run: @Sendable () throws -> Void
    init(_ run: @escaping @Sendable () throws -> Void) { self.run = run }
  }

  init(_ body: @escaping @Sendable () throws -> Void) {
    let argument = Unmanaged.passRetained(Body(body)).toOpaque()
    let result = pthread_create(
      &handle, nil,
      { argument in
        do {
          try Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
        } catch {
          let line = Array("swift-blocking: \(error)\n".utf8)
          write(STDERR_FILENO, line, line.count)
          exit(1)
        }
        return nil
      }, argument)
    precondition(result == 0, "no thread")
  }

  func join() { pthread_join(handle, nil) }
}
