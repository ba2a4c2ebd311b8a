// SPDX-License-Identifier: Apache-2.0
import CMessageSockets
import MessageSockets
import SystemPackage

@testable import SocketEngine

/// One input: a socket on a hostile kernel, and receives of every form.
enum KernelRun {
  static func run(_ input: Input) {
    let before = SimulatedFiles.open()
    do {
      try runLoop(input)
    } catch {
      fatalError("the loop cannot be run: \(error)")
    }
    checkDescriptors(are: before)
  }

  private static func runLoop(_ input: Input) throws {
    var configuration = IOLoop.Configuration()
    configuration.receiveBufferSize = input.number(1...200)
    configuration.controlBufferSize = input.choose([256, 272, 512, 2048])
    configuration.receiveBuffers = 1 << input.number(0...3)
    configuration.pooledBuffers = input.number(0...2)
    configuration.waitingReceiveBuffers = input.number(0...2)
    // One kernel in eight has no multishot receives.
    let buffers =
      input.oneIn(8)
      ? nil
      : SimulatedBuffers(
        count: configuration.receiveBuffers, controlSize: configuration.controlBufferSize,
        payloadSize: configuration.receiveBufferSize)
    let kind = input.choose([SocketKind.stream, .seqpacket, .datagram])
    let policy = policy(input)
    let expected = Expectations(kind, policy)
    let driver = HostileKernel(input, expected, buffers: buffers)
    let course = Course(input, expected, policy)
    let core = try SimulatedLoop.run(configuration, driver) { loop in
      do {
        let descriptor = OwnedFd(
          adopting: FileDescriptor(rawValue: cms_socket(cms_family_unix, kind.type)))
        switch kind {
        case .stream: try await course.run(UnixStream(adopting: descriptor, on: loop))
        case .seqpacket: try await course.run(UnixSeqpacket(adopting: descriptor, on: loop))
        case .datagram: try await course.run(UnixDatagram(adopting: descriptor, on: loop))
        }
      } catch {
        fatalError("\(error)")
      }
    }
    check(core.operations.inUse == 0, "\(core.operations.inUse) operations were not given back")
    check(core.controlBuffers.inUse + core.payloadBuffers.inUse == 0, "memory was not given back")
  }

  private static func policy(_ input: Input) -> ReceivePolicy {
    guard input.oneIn(2) else { return ReceivePolicy() }
    var policy = ReceivePolicy(
      maximumDescriptorsPerMessage: input.choose([0, 1, 2, 5, 253]),
      maximumDescriptorsHeld: input.choose([nil, nil, 0, 3]),
      allowed: input.choose([nil, nil, [.pipe], [.regularFile]]))
    policy.onSurplus = input.oneIn(2) ? .throwError : .report
    policy.onRefusal = input.oneIn(2) ? .throwError : .report
    policy.onPayloadTruncation = input.oneIn(2) ? .throwError : .report
    policy.onControlTruncation = input.oneIn(2) ? .throwError : .report
    return policy
  }
}
