// SPDX-License-Identifier: Apache-2.0
import Ancillary
import Glibc
import SystemPackage

typealias InternetSocket = BlockingSocket<InternetAddress>

/// Makes an internet socket that waits at most five seconds, so that a missing message makes its
/// test fail, not hang.
func internetSocket(
  _ family: Int32 = AF_INET, _ type: __socket_type = SOCK_DGRAM, protocol number: Int32 = 0
) -> InternetSocket {
  let socket = Glibc.socket(
    family, Int32(bitPattern: type.rawValue | SOCK_CLOEXEC.rawValue), number)
  precondition(socket >= 0, "socket: \(errno)")
  var limit = timeval(tv_sec: 5, tv_usec: 0)
  let result = unsafe setsockopt(
    socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  precondition(result == 0, "SO_RCVTIMEO: \(errno)")
  return InternetSocket(adopting: OwnedFd(adopting: FileDescriptor(rawValue: socket)))
}

/// Calls bind(2), and returns the resulting address.
func bind(_ socket: borrowing InternetSocket, to address: InternetAddress) -> InternetAddress {
  socket.withUnsafeFileDescriptor { descriptor in
    let result = withSystemAddress(address) { unsafe Glibc.bind(descriptor.rawValue, $0, $1) }
    precondition(result == 0, "bind: \(errno)")
    var name = [UInt8](repeating: 0, count: 128)
    var length = socklen_t(name.count)
    _ = unsafe name.withUnsafeMutableBytes {
      unsafe getsockname(
        descriptor.rawValue, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length)
    }
    return withSpan(Array(name[..<Int(length)])) { try! InternetAddress(decoding: $0) }
  }
}

/// Passes an address in the form of the C calls.
func withSystemAddress<R>(
  _ address: some SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
) -> R {
  address.withSocketAddressBytes { bytes in
    unsafe bytes.withUnsafeBytes {
      unsafe body($0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
    }
  }
}

/// Calls setsockopt(2) with any value; returns whether the kernel accepted it.
func setOption<T: BitwiseCopyable>(
  _ level: Int32, _ option: Int32, to value: T,
  on socket: borrowing some DescriptorBacked & ~Copyable
) -> Bool {
  var value = value
  return socket.withUnsafeFileDescriptor {
    unsafe setsockopt($0.rawValue, level, option, &value, socklen_t(MemoryLayout<T>.size)) == 0
  }
}

/// Sets an option of type `int` that every supported kernel has.
func set(
  _ level: Int32, _ option: Int32, _ value: Int32 = 1,
  on socket: borrowing some DescriptorBacked & ~Copyable
) {
  let isSet = setOption(level, option, to: value, on: socket)
  precondition(isSet, "setsockopt \(level)/\(option): \(errno)")
}

/// Both ends of a TCP connection on the loopback interface: first the connecting end, then the
/// accepted one.
func tcpPair() -> OwnedFds {
  let listener = internetSocket(AF_INET, SOCK_STREAM)
  let address = bind(listener, to: InternetAddress(.loopback, port: 0))
  let client = internetSocket(AF_INET, SOCK_STREAM)
  let accepted = listener.withUnsafeFileDescriptor { listener in
    client.withUnsafeFileDescriptor { client in
      precondition(listen(listener.rawValue, 1) == 0, "listen: \(errno)")
      let result = withSystemAddress(address) { unsafe connect(client.rawValue, $0, $1) }
      precondition(result == 0, "connect: \(errno)")
      return accept(listener.rawValue, nil, nil)
    }
  }
  precondition(accepted >= 0, "accept: \(errno)")
  var ends = OwnedFds()
  ends.append(client.release())
  ends.append(OwnedFd(adopting: FileDescriptor(rawValue: accepted)))
  return ends
}

/// A received message, copied from the memory that it was received in.
struct Arrival {
  var payload: [UInt8]
  var control: ControlMessageBuffer
  var flags: ReceiveFlags
}

/// Receives one message, with room for `room` bytes of control messages.
func arrival(
  on socket: borrowing some MessageReceiving & ~Copyable, size: Int = 2048, room: Int = 1024,
  options: ReceiveOptions = []
) throws -> Arrival {
  var memory = [UInt8](repeating: 0xDD, count: room)
  var memorySpan = memory.mutableSpan
  var data = AncillaryData(&memorySpan)
  var payload = [UInt8](repeating: 0, count: size)
  var span = payload.mutableSpan
  let result = try MessageReceiver(&span).options(options).receive(on: socket, ancillary: &data)
  let control = ControlMessageBuffer(copying: data.controlMessages.bytes)
  return Arrival(
    payload: Array(payload.prefix(result.byteCount)), control: control, flags: result.flags)
}

/// Sends one message with control messages.
@discardableResult
func send<S: AddressedMessageSending & ~Copyable>(
  _ payload: [UInt8], _ control: ControlMessageBuffer = ControlMessageBuffer(),
  to address: S.Address,
  on socket: borrowing S, options: SendOptions = []
) throws(Errno) -> Int {
  var outgoing = AncillaryDataBuffer()
  for message in control { outgoing.append(message.message) }
  return try MessageSender(payload.span).ancillaryData(outgoing.ancillaryData()).options(options)
    .send(
      to: address, on: socket)
}
