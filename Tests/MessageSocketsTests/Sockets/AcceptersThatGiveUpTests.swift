// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageSockets
import SystemPackage
import Testing

@testable import SocketEngine

extension KernelTests {
  /// A listener with several descriptors, as in processes that hand over to each other.
  @Suite(.timeLimit(.minutes(1))) struct AcceptersThatGiveUpTests {
    /// A connection wakes one of the waiting accepts. If that accept is cancelled before it has
    /// looked, either it still gets the connection or the other accept does. The connection does
    /// not wait in the listener until another one comes.
    @Test(
      .enabled(
        if: !TestLoop.isOnRing || KernelRelease.running >= KernelRelease(6, 10),
        "a ring cannot accept without waiting before Linux 6.10"))
    func aConnectionWhoseNewsReachesOneThatGivesUp() async throws {
      for _ in 0..<20 {
        try await withOwnLoop { giving in
          try await withOwnLoop { staying in
            let first = try TCPListener.bind(
              to: InternetAddress(.loopback as IPv4Address, port: 0), on: giving)
            let second = try TCPListener(adopting: try await first.duplicate(), on: staying)
            // In this order, because the kernel wakes the accept that has waited longest.
            let one = Task(executorPreference: giving.taskExecutor) { try await first.accept() }
            await untilOperationIsInKernel(giving)
            let two = Task(executorPreference: staying.taskExecutor) { try await second.accept() }
            await untilOperationIsInKernel(staying)
            // Within one turn of the first loop: first the connection, then the cancellation.
            let client = try await giving.run {
              let client = try BlockingClient(port: first.address.port)
              one.cancel()
              return client
            }
            let taken: TCPStream
            switch await one.result {
            case .success(let connection):
              taken = connection
              two.cancel()
              await #expect(throws: CancellationError.self) { _ = try await two.value }
            case .failure(let error):
              #expect(error is CancellationError)
              let guardian = Task(executorPreference: staying.taskExecutor) {
                try await staying.sleep(for: .seconds(10))
                two.cancel()
              }
              taken = try await two.value
              guardian.cancel()
            }
            try await taken.sendMessage([7])
            #expect(client.read() == 7)
            await taken.close()
            await first.close()
            await second.close()
            client.close()
          }
        }
      }
    }

    private func untilOperationIsInKernel(_ loop: IOLoop) async {
      while await loop.operationsInKernel == 0 { await Task.yield() }
    }
  }
}

/// Connects in its initializer, which blocks the thread.
private struct BlockingClient {
  private let number: Int32

  init(port: UInt16) throws {
    number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw Errno(rawValue: errno) }
  }

  func read() -> UInt8? {
    var byte: UInt8 = 0
    return Glibc.read(number, &byte, 1) == 1 ? byte : nil
  }

  func close() { _ = Glibc.close(number) }
}
