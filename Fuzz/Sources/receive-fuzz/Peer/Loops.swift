// SPDX-License-Identifier: Apache-2.0
import MessageSockets

/// Loops on both drivers, with much and with little memory. They exist for the whole run.
enum Loops {
  static let all: [IOLoop] = [IOLoop.DriverChoice.ioUring, .epoll].flatMap { driver in
    [(64, 256, 2), (4096, 2048, 8)].compactMap { payload, control, count in
      var configuration = IOLoop.Configuration()
      configuration.driver = driver
      configuration.receiveBufferSize = payload
      configuration.controlBufferSize = control
      configuration.receiveBuffers = count
      configuration.waitingReceiveBuffers = 1
      configuration.pooledBuffers = 1
      do {
        return try IOLoop(configuration)
      } catch {
        print("SKIPPED \(driver): \(error)")
        return nil
      }
    }
  }
}
