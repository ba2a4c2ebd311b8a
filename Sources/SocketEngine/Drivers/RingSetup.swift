// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import CRing
internal import SystemPackage

/// Opens a ring with the best flags that the kernel accepts, and a smaller one where locked memory
/// is short. Reports a reason if no ring can be opened.
enum RingSetup {
  /// The flags for Linux 6.1 and newer, for 5.19 and newer, and for older kernels.
  private static let flagSets: [UInt32] = [
    cms_ring_clamp | cms_ring_submit_all | cms_ring_single_issuer | cms_ring_defer_taskrun,
    cms_ring_clamp | cms_ring_submit_all | cms_ring_coop_taskrun,
    cms_ring_clamp,
  ]

  /// The smallest useful ring. Requests that do not fit queue in the driver.
  private static let fewestEntries: UInt32 = 16

  /// How long to wait between attempts when memory is short, in milliseconds. The kernel releases
  /// the locked memory of a closed ring with a delay of up to 29 ms, as measured.
  private static let pauses: [UInt32] = [0, 5, 15, 30]

  static func open(entries: UInt32) throws(RingUnavailable) -> OpaquePointer {
    // SAFETY: this thread alone uses the ring, until it is returned or destroyed below.
    let ring = unsafe try create(entries: entries)
    do throws(RingUnavailable) {
      try unsafe checkFeatures(of: ring)
    } catch {
      unsafe cms_ring_destroy(ring)
      throw error
    }
    return unsafe ring
  }

  private static func create(entries: UInt32) throws(RingUnavailable) -> OpaquePointer {
    var ring: OpaquePointer?
    for pause in pauses {
      cms_sleep(pause)
      var size = entries
      while true {
        // SAFETY: `ring` is a local variable; the call sets it when it returns 0.
        let status = unsafe create(entries: size, &ring)
        if status == 0 { return unsafe ring! }
        guard status == -Errno.noMemory.rawValue else { throw refusal(Errno(rawValue: -status)) }
        if size <= fewestEntries { break }
        size = max(size / 2, fewestEntries)
      }
    }
    throw refusal(.noMemory)
  }

  private static func create(entries: UInt32, _ ring: inout OpaquePointer?) -> Int32 {
    var status: Int32 = 0
    for flags in flagSets {
      status = unsafe cms_ring_create(entries, flags, &ring)
      if status != -Errno.invalidArgument.rawValue { break }
    }
    return status
  }

  /// Before 5.12 (native workers), the kernel refuses control messages over io_uring. Without
  /// NODROP, completions could be lost, and descriptors with them. Multishot polls, which the
  /// wake-up needs, came with resource tags in 5.13.
  private static func checkFeatures(of ring: OpaquePointer) throws(RingUnavailable) {
    let needed =
      cms_ring_feature_nodrop | cms_ring_feature_submit_stable | cms_ring_feature_ext_arg
      | cms_ring_feature_native_workers
      | cms_ring_feature_rsrc_tags
    let missing = needed & ~(unsafe cms_ring_feature_bits(ring))
    guard missing == 0 else {
      throw RingUnavailable(
        IOLoop.Driver.Reason(
          .kernelTooOld, detail: "feature bits 0x\(String(missing, radix: 16)) are missing"))
    }
    let opcodes = [
      cms_opcode_poll_add, cms_opcode_sendmsg, cms_opcode_recvmsg, cms_opcode_accept,
      cms_opcode_async_cancel, cms_opcode_connect,
    ]
    var present: UInt64 = 0
    let status = unsafe cms_ring_opcodes(ring, &present)
    guard status == 0 else { throw refusal(Errno(rawValue: -status)) }
    for opcode in opcodes where present & 1 << UInt64(opcode) == 0 {
      throw RingUnavailable(
        IOLoop.Driver.Reason(.kernelTooOld, detail: "opcode \(opcode) is missing"))
    }
  }

  /// Whether the kernel has multishot receives. There is no way to query them; `IORING_OP_SEND_ZC`
  /// came in the same version (Linux 6.0).
  static func hasMultishotReceives(_ ring: OpaquePointer) -> Bool {
    var present: UInt64 = 0
    return unsafe cms_ring_opcodes(ring, &present) == 0
      && present & 1 << UInt64(cms_opcode_send_zc) != 0
  }

  private static func refusal(_ errno: Errno) -> RingUnavailable {
    let code: IOLoop.Driver.Reason.Code =
      switch errno {
      case .notPermitted, .permissionDenied: .notPermitted
      case .noFunction: .notImplemented
      // The kernel does not know even the most basic flags (before 5.6), or cannot report its
      // opcodes.
      case .invalidArgument: .kernelTooOld
      case .noMemory: .outOfLockedMemory
      case .tooManyOpenFiles, .tooManyOpenFilesInSystem: .outOfDescriptors
      default: .setUpFailed
      }
    return RingUnavailable(IOLoop.Driver.Reason(code, errno: errno, detail: nil))
  }
}

/// The error of a ring that cannot be used, with the reason.
struct RingUnavailable: Error {
  let reason: IOLoop.Driver.Reason

  init(_ reason: IOLoop.Driver.Reason) { self.reason = reason }
}
