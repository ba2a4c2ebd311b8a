// SPDX-License-Identifier: Apache-2.0
extension IOLoop {
  /// All limits of a loop, with defaults that suit servers.
  public struct Configuration: Sendable {
    /// The thread's name, as debuggers and `ps -L` show it; the kernel keeps 15 bytes.
    public var name = "io-loop"

    /// Whether to run on io_uring or on epoll. By default the environment variable
    /// `MESSAGE_SOCKETS_DRIVER` decides, or else what the machine allows. A choice made here goes
    /// before the environment.
    public var driver = DriverChoice.automatic

    /// Places in the submission queue: requests that one enter can carry. More are queued, none is
    /// refused. 1 to 32,768; a power of two is used. The ring's memory (256 entries: about 33 KiB)
    /// counts against `RLIMIT_MEMLOCK` for users other than root; where that is short, a smaller
    /// ring is made. Without meaning on epoll.
    public var ringEntries = 256

    /// Bytes of payload that one ``UnixStream``-style receive without a buffer of the caller's can
    /// take; a longer seqpacket message is truncated (and says so), of a stream the rest comes
    /// next. 1 to 16 MiB. A buffer is lent only while a receive is pending.
    public var receiveBufferSize = 64 * 1024

    /// Bytes of control data that one receive can take. 253 descriptors, credentials, a process
    /// descriptor and a timestamp are 1,120 bytes; the rest is room for a security label. 256 bytes
    /// to 64 KiB.
    public var controlBufferSize = 2048

    /// Buffers for messages that are received ahead of demand (``MessageSocket/messages``), shared
    /// by all sockets of the loop; a power of two, 1 to 32,768. Each has room for
    /// `controlBufferSize` and `receiveBufferSize`; memory that no message reaches is never
    /// touched. When all are full, messages wait in the kernel.
    public var receiveBuffers = 64

    /// How many receives may wait in the kernel with buffers of their own (`receiveBufferSize` and
    /// `controlBufferSize`; of these the pages that messages have reached are in memory). Further
    /// ones wait without any, and cost one more request each when something arrives: idle
    /// connections beyond this number cost no buffers. 0 or more. ``MessageSocket/messages`` holds
    /// none in any case, nor does the epoll driver.
    public var waitingReceiveBuffers = 1024

    /// How many returned buffers of each kind the loop keeps for the next use; more are freed. 0 or
    /// more.
    public var pooledBuffers = 64

    /// How many ready jobs run before the loop looks after the kernel again, so that busy tasks do
    /// not starve I/O. 1 or more.
    public var jobsPerTurn = 64

    public init() {}

    func validate() throws(SocketError) {
      try check(ringEntries, in: 1...32_768, "ringEntries")
      try check(receiveBufferSize, in: 1...(16 << 20), "receiveBufferSize")
      try check(controlBufferSize, in: 256...(64 << 10), "controlBufferSize")
      try check(receiveBuffers, in: 1...32_768, "receiveBuffers")
      guard receiveBuffers.nonzeroBitCount == 1 else {
        throw SocketError(
          .invalidConfiguration, .startLoop,
          detail: "receiveBuffers is \(receiveBuffers); it must be a power of two")
      }
      // All buffers are one piece of memory; pages that no message reaches are never touched.
      guard (receiveBufferSize + controlBufferSize) * receiveBuffers <= 1 << 30 else {
        throw SocketError(
          .invalidConfiguration, .startLoop,
          detail:
            "receiveBuffers of receiveBufferSize and controlBufferSize are \(receiveBuffers) × \(receiveBufferSize + controlBufferSize) bytes; 1 GiB is possible"
        )
      }
      try check(pooledBuffers, in: 0...(1 << 20), "pooledBuffers")
      try check(waitingReceiveBuffers, in: 0...(1 << 20), "waitingReceiveBuffers")
      try check(jobsPerTurn, in: 1...(1 << 20), "jobsPerTurn")
    }

    private func check(_ value: Int, in range: ClosedRange<Int>, _ name: String) throws(SocketError)
    {
      guard range.contains(value) else {
        throw SocketError(
          .invalidConfiguration, .startLoop,
          detail: "\(name) is \(value); \(range.lowerBound) to \(range.upperBound) is possible")
      }
    }
  }
}
