// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets
internal import SystemPackage

/// Opening a ring: the best flags first, poorer ones for older kernels, smaller sizes where locked
/// memory is short, and a reason if nothing is accepted.
enum RingSetup {
  /// From Linux 6.1 on, from 5.19 on, and before.
  private static let flagSets: [UInt32] = [
    cms_ring_clamp | cms_ring_submit_all | cms_ring_single_issuer | cms_ring_defer_taskrun,
    cms_ring_clamp | cms_ring_submit_all | cms_ring_coop_taskrun,
    cms_ring_clamp,
  ]

  /// The smallest ring that is worth its while: requests beyond it queue in the driver.
  private static let fewestEntries: UInt32 = 16

  /// How long to wait between attempts when memory is short, in milliseconds. The kernel gives the
  /// locked memory of a closed ring back late: 29 ms have been seen.
  private static let pauses: [UInt32] = [0, 5, 15, 30]

  static func open(entries: UInt32) throws(RingRefusal) -> OpaquePointer {
    let ring = unsafe try create(entries: entries)
    do throws(RingRefusal) {
      try unsafe checkFeatures(of: ring)
    } catch {
      unsafe cms_ring_destroy(ring)
      throw error
    }
    return unsafe ring
  }

  private static func create(entries: UInt32) throws(RingRefusal) -> OpaquePointer {
    var ring: OpaquePointer?
    for pause in pauses {
      cms_sleep(pause)
      var size = entries
      while true {
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

  /// Control messages over io_uring are refused before 5.12 (native workers); without NODROP
  /// completions, and descriptors in them, could be lost. Multishot polls, for the wake-up, came
  /// with 5.13, and resource tags with them.
  private static func checkFeatures(of ring: OpaquePointer) throws(RingRefusal) {
    let needed =
      cms_ring_feature_nodrop | cms_ring_feature_submit_stable | cms_ring_feature_ext_arg
      | cms_ring_feature_native_workers
      | cms_ring_feature_rsrc_tags
    let missing = needed & ~(unsafe cms_ring_feature_bits(ring))
    guard missing == 0 else {
      throw RingRefusal(
        IOLoop.Driver.Reason(
          .kernelTooOld, detail: "feature bits 0x\(String(missing, radix: 16)) are missing"))
    }
    let opcodes = [
      cms_opcode_poll_add, cms_opcode_sendmsg, cms_opcode_recvmsg, cms_opcode_accept,
      cms_opcode_async_cancel, cms_opcode_connect,
    ]
    for opcode in opcodes where unsafe cms_ring_supports(ring, opcode) != 1 {
      throw RingRefusal(IOLoop.Driver.Reason(.kernelTooOld, detail: "opcode \(opcode) is missing"))
    }
  }

  private static func refusal(_ errno: Errno) -> RingRefusal {
    let code: IOLoop.Driver.Reason.Code =
      switch errno {
      case .notPermitted, .permissionDenied: .notPermitted
      case .noFunction: .notImplemented
      case .noMemory: .outOfLockedMemory
      case .tooManyOpenFiles, .tooManyOpenFilesInSystem: .outOfDescriptors
      default: .setUpFailed
      }
    return RingRefusal(IOLoop.Driver.Reason(code, errno: errno, detail: nil))
  }
}
