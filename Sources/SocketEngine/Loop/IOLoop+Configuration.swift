// SPDX-License-Identifier: Apache-2.0
extension IOLoop {
  /// All limits of a loop, with defaults that suit servers.
  public struct Configuration: Sendable {
    /// The thread's name, as debuggers and `ps -L` show it; the kernel keeps 15 bytes.
    public var name = "io-loop"

    /// Whether the loop runs on io_uring or on epoll.
    ///
    /// By default the environment variable `MESSAGE_SOCKETS_DRIVER` decides, and without it, what
    /// the machine allows. A choice made here overrides the environment.
    public var driver = DriverChoice.automatic

    /// Places in the submission queue, which is how many requests one system call can submit. From
    /// 1 to 32,768; rounded up to a power of two. Has no effect on epoll.
    ///
    /// Further requests wait for the next call; none is refused. The ring's memory (about 33 KiB
    /// for 256 entries) counts against `RLIMIT_MEMLOCK` for users other than root; where that is
    /// short, a smaller ring is made.
    public var ringEntries = 256

    /// The largest payload, in bytes, that a receive without a caller-supplied buffer can take.
    /// From 1 byte to 16 MiB.
    ///
    /// A longer seqpacket or datagram message is cut to exactly this size, and the receive throws
    /// ``SocketError/Code/messageIncomplete``; a stream delivers the rest with the next receive.
    /// The loop lends a buffer only while a receive is pending.
    public var receiveBufferSize = 64 * 1024

    /// The most control data, in bytes, that one receive can take. From 256 bytes to 64 KiB.
    ///
    /// 253 descriptors, credentials, a process descriptor and a timestamp take 1,120 bytes; the
    /// rest is room for a security label.
    public var controlBufferSize = 2048

    /// Buffers for messages that are received ahead of demand (``MessageSocket/messages``). All
    /// sockets of the loop share them. A power of two from 1 to 32,768.
    ///
    /// Each has room for `controlBufferSize` and `receiveBufferSize`; memory that no message
    /// reaches is never touched. While all are full, messages wait in the kernel.
    public var receiveBuffers = 64

    /// How many receives may wait in the kernel with a buffer of their own. 0 or more.
    ///
    /// A receive beyond this number waits without a buffer, so that idle connections cost no
    /// memory; it needs one more request when a message arrives. ``MessageSocket/messages`` holds
    /// no buffer while it waits, and neither does the epoll driver.
    public var waitingReceiveBuffers = 1024

    /// How many returned buffers of each kind the loop keeps for the next use; further ones are
    /// freed. 0 or more.
    public var pooledBuffers = 64

    /// How many ready jobs run before the loop looks after the kernel again, so that busy tasks do
    /// not starve I/O. 1 or more.
    public var jobsPerTurn = 64

    /// The most that sockets may receive ahead, if the kernel supports it. For tests.
    var aheadLimit = AheadLimit.everything

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
      // All buffers share one allocation; pages that no message reaches are never touched.
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
