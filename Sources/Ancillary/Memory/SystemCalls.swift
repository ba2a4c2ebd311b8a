// Every system call of this module. No decisions here: numbers in, numbers or an Errno out.
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

/// close(2), once. On Linux the number is free again even when the call reports EINTR: a second close could hit another
/// thread's file.
func closeNumber(_ number: Int32) -> Errno? {
  close(number) == 0 ? nil : currentErrno()
}

/// fcntl(2) with F_DUPFD_CLOEXEC: the lowest free number at or above 0, closed on exec from the start.
func duplicateNumber(_ number: Int32) throws(Errno) -> Int32 {
  let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
  guard copy >= 0 else { throw currentErrno() }
  return copy
}
