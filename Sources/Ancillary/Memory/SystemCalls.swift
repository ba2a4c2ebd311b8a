// SPDX-License-Identifier: Apache-2.0
// All system calls of this module. Nothing here makes decisions: numbers in, numbers or an Errno
// out.
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The calling thread's `errno`, as a typed error.
func currentErrno() -> Errno { Errno(rawValue: errno) }

/// Calls close(2) once. On Linux the descriptor is free even if the call reports EINTR: a second
/// close could hit another thread's file.
func closeNumber(_ number: Int32) -> Errno? {
  close(number) == 0 ? nil : currentErrno()
}

/// fcntl(2) with F_DUPFD_CLOEXEC: the lowest free descriptor, with close-on-exec set from the
/// start.
func duplicateNumber(_ number: Int32) throws(Errno) -> Int32 {
  let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
  guard copy >= 0 else { throw currentErrno() }
  return copy
}

/// fcntl(2) with F_SETFD: sets close-on-exec.
func setCloseOnExec(_ number: Int32) throws(Errno) {
  guard fcntl(number, F_SETFD, FD_CLOEXEC) == 0 else { throw currentErrno() }
}

/// Whether the socket is a stream (getsockopt(2), SO_TYPE).
func isStream(_ number: Int32) -> Bool {
  var type: Int32 = 0
  var length = socklen_t(MemoryLayout<Int32>.size)
  // SAFETY: both variables outlive the call.
  guard unsafe getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &length) == 0 else { return false }
  #if canImport(Glibc)
    return type == Int32(bitPattern: SOCK_STREAM.rawValue)
  #else
    return type == SOCK_STREAM
  #endif
}

/// sendmsg(2), retried after EINTR.
func sendMessageCall(
  _ number: Int32, name: UnsafeRawBufferPointer, vector: UnsafeBufferPointer<iovec>,
  control: UnsafeRawBufferPointer,
  flags: Int32
) throws(Errno) -> Int {
  // SAFETY: the caller lends all memory for the duration of the call; the kernel only reads it.
  var header = unsafe msghdr()
  unsafe header.msg_name = UnsafeMutableRawPointer(mutating: name.baseAddress)
  unsafe header.msg_namelen = numericCast(name.count)
  unsafe header.msg_iov = UnsafeMutablePointer(mutating: vector.baseAddress)
  unsafe header.msg_iovlen = numericCast(vector.count)
  unsafe header.msg_control =
    control.count == 0 ? nil : UnsafeMutableRawPointer(mutating: control.baseAddress)
  unsafe header.msg_controllen = numericCast(control.count)
  while true {
    let sent = unsafe sendmsg(number, &header, flags)
    if sent >= 0 { return sent }
    let error = currentErrno()
    if error != .interrupted { throw error }
  }
}

/// The output of recvmsg(2).
struct SystemReceiveResult {
  let byteCount: Int
  let nameLength: Int
  let controlLength: Int
  let flags: Int32
}

/// recvmsg(2), retried after EINTR.
func receiveMessageCall(
  _ number: Int32, name: UnsafeMutableRawBufferPointer, vector: UnsafeBufferPointer<iovec>,
  control: UnsafeMutableRawBufferPointer, flags: Int32
) throws(Errno) -> SystemReceiveResult {
  while true {
    // SAFETY: the caller lends all memory for the duration of the call; the vector itself is only
    // read.
    var header = unsafe msghdr()
    unsafe header.msg_name = name.baseAddress
    unsafe header.msg_namelen = numericCast(name.count)
    unsafe header.msg_iov = UnsafeMutablePointer(mutating: vector.baseAddress)
    unsafe header.msg_iovlen = numericCast(vector.count)
    unsafe header.msg_control = control.count == 0 ? nil : control.baseAddress
    unsafe header.msg_controllen = numericCast(control.count)
    let received = unsafe recvmsg(number, &header, flags)
    if received >= 0 {
      return unsafe SystemReceiveResult(
        byteCount: received, nameLength: Int(header.msg_namelen),
        controlLength: Int(header.msg_controllen),
        flags: header.msg_flags)
    }
    let error = currentErrno()
    if error != .interrupted { throw error }
  }
}
