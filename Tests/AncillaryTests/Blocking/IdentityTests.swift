import Ancillary
import Glibc
import SystemPackage
import Testing

extension OpeningDescriptors {
  /// What the kernel says about the sender.
  @Suite struct IdentityTests {
    static func enable(_ option: Int32, on socket: borrowing OwnedFd) -> Bool {
      var on: Int32 = 1
      return socket.withUnsafeFileDescriptor {
        unsafe setsockopt($0.rawValue, SOL_SOCKET, option, &on, socklen_t(MemoryLayout<Int32>.size)) == 0
      }
    }

    @Test func credentialsArriveBesideDescriptors() throws {
      let canaries = Canaries(253)
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      #expect(try BlockingTests.send([1], canaries.writers, on: sender) == 1)
      var buffer = AncillaryDataBuffer(capacity: 2048)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      let result = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      #expect(result.flags.isEmpty)
      #expect(data.descriptors.count == 253)
      #expect(data.credentials == Credentials(processID: getpid(), userID: getuid(), groupID: getgid()))
    }

    @Test func credentialsFromBeforeTheOptionAreUnknown() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      #expect(try BlockingTests.send([1], OwnedFds(), on: sender) == 1)
      let isOn = Self.enable(SO_PASSCRED, on: receiver)
      #expect(isOn)
      var buffer = AncillaryDataBuffer(capacity: 256)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      _ = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      #expect(data.credentials == Credentials(processID: nil, userID: nil, groupID: nil))
    }

    @Test func deadProcessCannotBeNamed() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      var buffer = AncillaryDataBuffer()
      buffer.append(Credentials(processID: Int32.max, userID: getuid(), groupID: getgid()))
      let data = buffer.ancillaryData()
      let payload: [UInt8] = [1]
      var failure: Errno?
      do throws(Errno) {
        _ = try sender.sendMessage(GatherBuffers(unsafe payload.span.bytes), ancillary: data, options: [])
      } catch { failure = error }
      #expect(failure == .noSuchProcess)
    }

    /// `SO_PASSPIDFD` (76), Linux 6.5.
    private static var hasProcessDescriptors: Bool {
      var pair = socketPair(.stream)
      let socket = pair.takeFirst()!
      return enable(76, on: socket)
    }

    @Test(.enabled(if: Self.hasProcessDescriptors, "the kernel has no SO_PASSPIDFD")) func processDescriptorIsOwned() throws {
      var pair = socketPair(.stream)
      let sender = pair.takeFirst()!
      let receiver = pair.takeFirst()!
      let isEnabled = Self.enable(76, on: receiver)
      #expect(isEnabled)
      #expect(try BlockingTests.send([1], OwnedFds(), on: sender) == 1)
      var buffer = AncillaryDataBuffer(capacity: 256)
      var data = buffer.ancillaryData()
      var memory = [UInt8](repeating: 0, count: 8)
      var span = memory.mutableSpan
      _ = try MessageReceiver(unsafe span.mutableBytes).receive(on: receiver, ancillary: &data)
      let process = data.takeProcess()
      let isOwned = if case .success? = process { true } else { false }
      #expect(isOwned)
      let again = data.takeProcess() == nil
      #expect(again)
    }
  }
}
