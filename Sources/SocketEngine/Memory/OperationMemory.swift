// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// What the kernel reads and writes for one operation, at an address that never changes: message
/// header, vectors, address. The C struct is `cms_operation_memory`.
///
/// Allocated once per slot and kept for the slot's life, so that a late write of the kernel always
/// finds memory. Control and payload bytes are lent per use: control from the loop's
/// ``MemoryPool``, payload by the caller or from a pool.
@safe
struct OperationMemory: ~Copyable {
  /// How many buffers one message may be gathered from without an allocation.
  static let inlineVectors = Int(cms_inline_vectors)
  /// How many there can be in one message. The C name is `IOV_MAX`.
  static let maximumVectors = 1024
  /// Room for any address (`struct sockaddr_storage` is 128 bytes).
  static let nameCapacity = 128

  private let block: UnsafeMutablePointer<cms_operation_memory>

  init() {
    // SAFETY: allocated here, freed in deinit only; the owner keeps this value until the kernel's
    // final completion.
    unsafe block = .allocate(capacity: 1)
    unsafe block.initialize(to: cms_operation_memory())
  }

  // SAFETY (these three): parts of the block, which stays where it is.
  var header: UnsafeMutablePointer<cms_msghdr> { unsafe cms_header(block) }
  var vectors: UnsafeMutablePointer<cms_iovec> { unsafe cms_vectors(block) }
  /// What the runtime calls when the awaiting task is cancelled; not the kernel's, but in need of a
  /// stable address too.
  var cancellationHandler: UnsafeMutablePointer<cms_cancellation_handler> {
    unsafe cms_handler(block)
  }

  /// Room for an address: ``nameCapacity`` bytes.
  func reserveName() -> UnsafeMutableRawPointer {
    if let name = unsafe block.pointee.name { return unsafe name }
    // SAFETY: freed in deinit.
    let name = UnsafeMutableRawPointer.allocate(byteCount: Self.nameCapacity, alignment: 8)
    unsafe block.pointee.name = name
    return unsafe name
  }

  /// Lets the header describe a message of one buffer.
  func setPayload(_ buffer: UnsafeMutableRawBufferPointer) {
    // SAFETY: own memory, which the kernel does not know yet.
    unsafe vectors[0] = cms_iovec(base: buffer.baseAddress, length: buffer.count)
    unsafe setPayload(vectors, count: 1)
  }

  /// Lets the header describe a message of several buffers.
  func setPayload(_ vectors: UnsafeMutablePointer<cms_iovec>, count: Int) {
    unsafe header.pointee = cms_msghdr()
    unsafe header.pointee.vectors = vectors
    unsafe header.pointee.vector_count = count
  }

  /// Where the first buffer is.
  var payloadStart: UnsafeMutableRawPointer? { unsafe vectors[0].base }

  func setControl(_ control: UnsafeMutableRawBufferPointer?) {
    // SAFETY: as above.
    unsafe header.pointee.control = control?.baseAddress
    unsafe header.pointee.control_length = control?.count ?? 0
  }

  /// Takes `count` bytes that were sent off the front of the vectors; returns how many are left.
  func advanceVectors(by count: Int) -> Int {
    var count = count
    // SAFETY: the header points at `vector_count` vectors, its own or allocated ones.
    while unsafe header.pointee.vector_count > 0 {
      let first = unsafe header.pointee.vectors!
      if unsafe count < first.pointee.length {
        unsafe first.pointee.base += count
        unsafe first.pointee.length -= count
        break
      }
      unsafe count -= first.pointee.length
      unsafe header.pointee.vectors += 1
      unsafe header.pointee.vector_count -= 1
    }
    var remaining = 0
    for index in 0..<(unsafe header.pointee.vector_count) {
      unsafe remaining += header.pointee.vectors[index].length
    }
    return remaining
  }

  deinit {
    // SAFETY: see init.
    unsafe block.pointee.name?.deallocate()
    unsafe block.deallocate()
  }
}
