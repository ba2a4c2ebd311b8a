internal import CMessageSockets
internal import SystemPackage

/// Opening a ring: the best flags first, poorer ones for older kernels, and an explanation if none is accepted.
enum RingSetup {
  /// From Linux 6.1 on, from 5.19 on, and before.
  private static let flagSets: [UInt32] = [
    cms_ring_clamp | cms_ring_submit_all | cms_ring_single_issuer | cms_ring_defer_taskrun,
    cms_ring_clamp | cms_ring_submit_all | cms_ring_coop_taskrun,
    cms_ring_clamp,
  ]

  static func open(entries: UInt32) throws(SocketError) -> OpaquePointer {
    var ring: OpaquePointer?
    var status: Int32 = 0
    for flags in flagSets {
      status = unsafe cms_ring_create(entries, flags, &ring)
      if status != -Errno.invalidArgument.rawValue { break }
    }
    guard status == 0, let ring = unsafe ring else { throw refusal(Errno(rawValue: -status)) }
    do {
      try unsafe checkFeatures(of: ring)
    } catch {
      unsafe cms_ring_destroy(ring)
      throw error
    }
    return unsafe ring
  }

  /// Control messages over io_uring are refused before 5.12 (native workers); without NODROP completions, and descriptors in them,
  /// could be lost.
  private static func checkFeatures(of ring: OpaquePointer) throws(SocketError) {
    let needed = cms_ring_feature_nodrop | cms_ring_feature_submit_stable | cms_ring_feature_ext_arg | cms_ring_feature_native_workers
    guard unsafe cms_ring_feature_bits(ring) & needed == needed else {
      throw SocketError(.ioUringUnavailable, .startLoop, detail: "the kernel is older than Linux 5.12")
    }
    let opcodes = [
      cms_opcode_poll_add, cms_opcode_sendmsg, cms_opcode_recvmsg, cms_opcode_accept, cms_opcode_async_cancel, cms_opcode_connect,
    ]
    for opcode in opcodes where unsafe cms_ring_supports(ring, opcode) != 1 {
      throw SocketError(.ioUringUnavailable, .startLoop, detail: "the kernel refuses io_uring operation \(opcode)")
    }
  }

  private static func refusal(_ errno: Errno) -> SocketError {
    let reason =
      switch errno {
      case .notPermitted, .permissionDenied:
        "the kernel or a container's seccomp profile forbids it; see kernel.io_uring_disabled, or allow io_uring_setup in the profile"
      case .noFunction: "the kernel, or the sandbox in place of it, does not have io_uring"
      case .noMemory: "locked memory is used up; raise RLIMIT_MEMLOCK (ulimit -l)"
      case .tooManyOpenFiles, .tooManyOpenFilesInSystem: "no descriptor is left for the ring; raise RLIMIT_NOFILE"
      default: "io_uring_setup failed"
      }
    return SocketError(.ioUringUnavailable, .startLoop, errno: errno, detail: reason)
  }
}
