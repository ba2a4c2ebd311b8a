// SPDX-License-Identifier: Apache-2.0
import Ancillary

/// Takes ownership of everything in the bytes, and compares that with a separate count.
///
/// The numbers are first made so large that none can be open, so closing one closes nothing.
func adopt(_ control: UnsafeMutableRawBufferPointer) {
  var slots = 0
  var negative = 0
  var processes = 0
  unsafe forEachSlot(in: control) { slot, isProcess in
    if slot >= 0 { slot |= 0x4000_0000 }
    if isProcess {
      processes += 1
    } else {
      slots += 1
      if slot < 0 { negative += 1 }
    }
  }

  let received = unsafe ReceivedAncillary(takingFrom: control)
  check(received.descriptors.count == slots - negative, "descriptors were missed, or made up")
  check(received.failures.count == negative, "failures were missed, or made up")
  let hasProcess =
    switch received.process {
    case nil: false
    default: true
    }
  check(hasProcess == (processes > 0), "a process was missed, or made up")

  unsafe forEachSlot(in: control) { slot, _ in check(slot < 0, "a taken slot was not overwritten") }
  let again = unsafe OwnedFds(adoptingRightsIn: control)
  check(again.isEmpty, "a descriptor was taken twice")
}

/// A second walk, written as simply as possible: all slots of SCM_RIGHTS, and the first slot of
/// each SCM_PIDFD.
private func forEachSlot(
  in control: UnsafeMutableRawBufferPointer, _ body: (inout Int32, _ isProcess: Bool) -> Void
) {
  var offset = 0
  while control.count - offset >= 16 {
    let stated = unsafe control.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    let level = unsafe control.loadUnaligned(fromByteOffset: offset + 8, as: Int32.self)
    let type = unsafe control.loadUnaligned(fromByteOffset: offset + 12, as: Int32.self)
    if stated < 16 { return }
    let length = Int(min(stated, UInt64(control.count - offset)))
    if level == 1, type == 1 || type == 4 {
      for index in 0..<min((length - 16) / 4, type == 4 ? 1 : Int.max) {
        let place = offset + 16 + 4 * index
        var slot = unsafe control.loadUnaligned(fromByteOffset: place, as: Int32.self)
        body(&slot, type == 4)
        unsafe control.storeBytes(of: slot, toByteOffset: place, as: Int32.self)
      }
    }
    offset += (length + 7) / 8 * 8
  }
}
