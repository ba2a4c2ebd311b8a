// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import SystemPackage

/// The memory that the kernel reads and writes for one operation, at a fixed address: message
/// header, vectors, address. The C struct is `cms_operation_memory`.
///
/// Allocated once per slot and kept for the slot's life, so that a late write by the kernel always
/// finds memory. Control and payload bytes are acquired per use: control from the loop's
/// ``MemoryPool``, payload from the caller or from a pool.
@safe
struct OperationMemory: ~Copyable {
  /// How many buffers one message can be gathered from without an allocation.
  static let inlineVectors = Int(cms_inline_vectors)
  /// How many buffers one message can have. The C name is `IOV_MAX`.
  static let maximumVectors = 1024
  /// Room for any address (`struct sockaddr_storage` is 128 bytes).
  static let nameCapacity = 128

  private let block: UnsafeMutablePointer<cms_operation_memory>

  init() {
    // SAFETY: allocated here and freed only in deinit; the owner keeps this value until the
    // kernel's final completion.
    unsafe block = .allocate(capacity: 1)
    unsafe block.initialize(to: cms_operation_memory())
  }

  // SAFETY (these three): they point into the block, which does not move.
  var header: UnsafeMutablePointer<cms_msghdr> { unsafe cms_header(block) }
  var vectors: UnsafeMutablePointer<cms_iovec> { unsafe cms_vectors(block) }
  /// The handler that the runtime calls when the awaiting task is cancelled. The kernel does not
  /// use it, but it needs a stable address too.
  var cancellationHandler: UnsafeMutablePointer<cms_cancellation_handler> {
    unsafe cms_handler(block)
  }

  /// Returns room for an address: ``nameCapacity`` bytes.
  func reserveName() -> UnsafeMutableRawPointer {
    if let name = unsafe block.pointee.name { return unsafe name }
    // SAFETY: freed in deinit.
    let name = UnsafeMutableRawPointer.allocate(byteCount: Self.nameCapacity, alignment: 8)
    unsafe block.pointee.name = name
    return unsafe name
  }

  /// Makes the header describe a message of one buffer.
  func setPayload(_ buffer: UnsafeMutableRawBufferPointer) {
    // SAFETY: own memory, which the kernel has not been given yet.
    unsafe vectors[0] = cms_iovec(base: buffer.baseAddress, length: buffer.count)
    unsafe setPayload(vectors, count: 1)
  }

  /// Makes the header describe a message of one buffer of at most `room` bytes, which is acquired
  /// later.
  func setRoom(_ room: Int) {
    // SAFETY: own memory, which the kernel has not been given yet.
    unsafe vectors[0] = cms_iovec(base: nil, length: room)
    unsafe setPayload(vectors, count: 1)
  }

  /// Makes the header describe a message of several buffers.
  func setPayload(_ vectors: UnsafeMutablePointer<cms_iovec>, count: Int) {
    unsafe header.pointee = cms_msghdr()
    unsafe header.pointee.vectors = vectors
    unsafe header.pointee.vector_count = count
  }

  /// The start of the first buffer.
  var payloadStart: UnsafeMutableRawPointer? { unsafe vectors[0].base }

  func setControl(_ control: UnsafeMutableRawBufferPointer?) {
    // SAFETY: as above.
    unsafe header.pointee.control = control?.baseAddress
    unsafe header.pointee.control_length = control?.count ?? 0
  }

  /// Removes the first `count` bytes, which were sent, from the vectors; returns how many are left.
  func advanceVectors(by count: Int) -> Int {
    var count = count
    // SAFETY: the header points to `vector_count` vectors, its own or allocated ones.
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

/// Memory that an operation holds for one use only: control bytes, a payload buffer, and vectors
/// beyond the inline ones.
@safe
struct OperationBuffers: ~Copyable {
  /// From the loop's control pool.
  private(set) var control: UnsafeMutableRawBufferPointer?
  /// How far from its start the control block may hold other bytes than zeros.
  private var controlExtent = 0
  /// From the loop's payload pool.
  private(set) var payload: UnsafeMutableRawBufferPointer?
  /// Allocated because the pool's blocks were too small.
  private(set) var extra: UnsafeMutableRawBufferPointer?
  /// Allocated because the slot's own vectors were too few.
  private(set) var vectors: UnsafeMutablePointer<cms_iovec>?

  init() {}

  /// Acquires a block for control data that is about to be encoded.
  mutating func acquireControl(of byteCount: Int, from core: LoopCore)
    -> UnsafeMutableRawBufferPointer
  {
    // SAFETY: returned in `release(to:)`, after the final completion.
    let (block, extent) = unsafe core.controlBuffers.acquire()
    unsafe control = block
    controlExtent = max(extent, byteCount)
    return unsafe block
  }

  /// Acquires a block for control data that the kernel will write.
  ///
  /// - Parameter isZeroed: Whether the block must hold zeros only.
  mutating func acquireControl(isZeroed: Bool, from core: LoopCore)
    -> UnsafeMutableRawBufferPointer
  {
    // SAFETY: as above.
    let (block, extent) = unsafe core.controlBuffers.acquire()
    if isZeroed { unsafe block[..<extent].initializeMemory(as: UInt8.self, repeating: 0) }
    unsafe control = block
    controlExtent = block.count
    return unsafe block
  }

  /// Notes that the kernel has written control data up to this byte of a block that held zeros, and
  /// nothing behind it.
  mutating func noteControl(upTo end: Int) { controlExtent = end }

  mutating func acquirePayload(from core: LoopCore) -> UnsafeMutableRawBufferPointer {
    // SAFETY: as above.
    let block = unsafe core.payloadBuffers.acquire().block
    unsafe payload = block
    return unsafe block
  }

  mutating func allocateExtra(byteCount: Int) -> UnsafeMutableRawBufferPointer {
    // SAFETY: freed in `release(to:)`.
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 8)
    unsafe extra = block
    return unsafe block
  }

  mutating func allocateVectors(count: Int) -> UnsafeMutablePointer<cms_iovec> {
    // SAFETY: freed in `release(to:)`.
    let block = UnsafeMutablePointer<cms_iovec>.allocate(capacity: count)
    unsafe block.initialize(repeating: cms_iovec(), count: count)
    unsafe vectors = block
    return unsafe block
  }

  /// Returns all memory. The operation is over, so the kernel no longer uses any of it.
  mutating func release(to core: LoopCore) {
    if let block = unsafe control {
      unsafe core.controlBuffers.release(block, extent: controlExtent)
    }
    if let block = unsafe payload {
      unsafe core.payloadBuffers.release(block, extent: block.count)
    }
    if let block = unsafe extra { unsafe block.deallocate() }
    if let block = unsafe vectors { unsafe block.deallocate() }
    unsafe control = nil
    unsafe payload = nil
    unsafe extra = nil
    unsafe vectors = nil
  }
}

/// Blocks of one size, acquired and released on the loop's thread. The last block released is the
/// first to be reused.
///
/// Idle sockets hold no block. A released block is freed if `keeping` blocks are kept already, so a
/// burst does not stay in memory.
@safe
final class MemoryPool {
  /// The exact capacity of a block: a message is truncated where the configuration says.
  let blockSize: Int
  /// `blockSize`, rounded up to the alignment of 8 bytes, with room for the link of a free block.
  private let allocatedSize: Int
  /// What a free block begins with: two words.
  private static let linkSize = 16
  private let keeping: Int
  // Only the loop's thread uses these, in short accesses that do not nest. A run-time check would
  // cost as much as the work itself.
  /// The first free block. Each begins with the address of the next one and its extent: how far it
  /// may hold other bytes than zeros.
  @safe @exclusivity(unchecked) private var free: UnsafeMutableRawPointer?
  @safe @exclusivity(unchecked) private var kept = 0
  /// How many blocks are in use.
  @safe @exclusivity(unchecked) private(set) var inUse = 0

  init(blockSize: Int, keeping: Int) {
    precondition(blockSize > 0, "A block has at least one byte")
    self.blockSize = blockSize
    allocatedSize = max((blockSize + 7) / 8 * 8, Self.linkSize)
    self.keeping = keeping
  }

  deinit {
    assert(inUse == 0, "A pool ended while \(inUse) blocks were lent")
    // SAFETY: free blocks are not in use.
    while let (block, _) = unsafe takeFree() { unsafe block.deallocate() }
  }

  /// Returns a block of ``blockSize`` bytes, aligned to 8, which holds zeros behind its extent.
  @unsafe
  func acquire() -> (block: UnsafeMutableRawBufferPointer, extent: Int) {
    inUse += 1
    let (block, extent) =
      unsafe takeFree() ?? (.allocate(byteCount: allocatedSize, alignment: 8), blockSize)
    return unsafe (
      UnsafeMutableRawBufferPointer(start: block, count: blockSize), min(extent, blockSize)
    )
  }

  /// Takes a block back. From now on neither the caller nor the kernel may touch it.
  @unsafe
  func release(_ block: UnsafeMutableRawBufferPointer, extent: Int) {
    assert(
      inUse > 0 && block.count == blockSize,
      "A block of another pool, or one that was released before")
    inUse -= 1
    guard kept < keeping, let start = block.baseAddress else { return unsafe block.deallocate() }
    // SAFETY: the pool alone uses the block now; it is aligned and has room for both.
    unsafe start.storeBytes(of: free, as: UnsafeMutableRawPointer?.self)
    unsafe start.storeBytes(of: max(extent, Self.linkSize), toByteOffset: 8, as: Int.self)
    unsafe free = start
    kept += 1
  }

  @unsafe
  private func takeFree() -> (UnsafeMutableRawPointer, extent: Int)? {
    guard let block = free else { return nil }
    // SAFETY: both were written when the block was released, and not touched since.
    unsafe free = block.load(as: UnsafeMutableRawPointer?.self)
    kept -= 1
    return unsafe (block, block.load(fromByteOffset: 8, as: Int.self))
  }
}

// Filling an operation's memory before it is submitted.

extension Operation {
  /// Points the header at a payload that the awaiting task keeps alive.
  @inline(__always)
  func setPayload(_ payload: PayloadBytes) {
    // SAFETY: the caller borrows the payload until it has awaited the final completion.
    if let bytes = unsafe payload.onlyPiece {
      unsafe memory.setPayload(UnsafeMutableRawBufferPointer(mutating: bytes))
    } else {
      setPieces(payload)
    }
  }

  private func setPieces(_ payload: PayloadBytes) {
    let pieces = payload.pieceCount
    let vectors =
      unsafe pieces > OperationMemory.inlineVectors
      ? buffers.allocateVectors(count: pieces) : memory.vectors
    var count = 0
    // SAFETY: as above; there is room for one vector per piece.
    unsafe payload.forEachPiece { piece in
      unsafe vectors[count] = cms_iovec(
        base: UnsafeMutableRawPointer(mutating: piece.baseAddress), length: piece.count)
      count += 1
    }
    unsafe memory.setPayload(vectors, count: count)
  }

  /// Encodes descriptors and control messages, and copies the address to send to. Call after the
  /// payload is set.
  func prepareSend(
    numbers: Span<FileDescriptor>, control: borrowing ControlMessageBuffer, name: RawSpan,
    on core: LoopCore
  ) throws(AncillaryError) {
    if name.byteCount > 0 { setName(name) }
    let rightsSpace = numbers.isEmpty ? 0 : ControlMessages.space(forDescriptors: numbers.count)
    let needed = rightsSpace + control.byteCount
    guard needed > 0 else { return unsafe memory.setControl(nil) }
    let block =
      needed <= core.controlBuffers.blockSize
      ? unsafe buffers.acquireControl(of: needed, from: core)
      : unsafe buffers.allocateExtra(byteCount: needed)
    let rights = unsafe try ControlMessages.encodeRights(numbers, into: block)
    unsafe block[rights...].copyBytes(from: control.bytes)
    unsafe memory.setControl(UnsafeMutableRawBufferPointer(rebasing: block[..<needed]))
  }

  /// Makes the operation receive into the caller's memory, which the caller keeps alive. Without
  /// such memory, it receives at most `room` bytes into a block of the engine.
  func prepareReceive(into buffer: UnsafeMutableRawBufferPointer?, room: Int = .max) {
    if let buffer = unsafe buffer { unsafe memory.setPayload(buffer) } else { memory.setRoom(room) }
  }

  /// How many bytes a receive has room for.
  var receiveRoom: Int { unsafe memory.vectors[0].length }

  /// Acquires what a receive needs to take a message. Until then it holds no memory except the
  /// slot.
  func acquireReceiveMemory() {
    withCore { core in
      if unsafe memory.payloadStart == nil {
        let room = receiveRoom
        let block = unsafe buffers.acquirePayload(from: core)
        unsafe memory.setPayload(
          UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, room)]))
      }
      unsafe memory.setControl(
        buffers.acquireControl(isZeroed: mayLeaveControlOfVainTries, from: core))
    }
    if withSocket({ $0.namesSenders })! { setNameRoom() }
  }

  /// Whether a failed attempt may leave control data behind. Linux (seen on 6.18) writes zeroed
  /// credentials into the control data of a stream with `SO_PASSCRED` when io_uring finds nothing
  /// to receive. When something arrives, it continues behind them, and reports only the length of
  /// the new control data.
  var mayLeaveControlOfVainTries: Bool {
    withCore { $0.acquiresReceiveMemoryEarly } && withSocket { $0.kind == .stream } == true
  }

  /// Releases the memory when there was nothing to receive; the operation waits on without it.
  func releaseReceiveMemory() {
    if unsafe buffers.payload != nil { memory.setRoom(receiveRoom) }
    withCore { buffers.release(to: $0) }
  }

  /// Moves the outcome of a receive out. Bytes in the caller's memory are copied to the payload.
  func takeBroughtOutcome() -> OperationOutcome {
    var brought = takeOutcome()
    if unsafe buffers.payload == nil, let start = unsafe memory.payloadStart {
      // SAFETY: the caller keeps its memory until the task continues, and the kernel has filled
      // this many bytes.
      brought.payload = unsafe [UInt8](
        UnsafeRawBufferPointer(start: start, count: brought.byteCount))
    }
    return brought
  }

  /// Lets the kernel write the sender's address.
  private func setNameRoom() {
    // SAFETY: the operation's own memory, which stays valid until the final completion.
    unsafe header.pointee.name = memory.reserveName()
    unsafe header.pointee.name_length = UInt32(OperationMemory.nameCapacity)
  }

  /// How many bytes of a shared buffer are reserved for the sender's address.
  var receivedNameSize: Int { Int(unsafe header.pointee.name_length) }

  /// Reserves room for each message's control data; the remainder of a shared buffer is payload.
  func prepareReceiveAhead() {
    unsafe memory.setPayload(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    unsafe header.pointee.vector_count = 0
    unsafe header.pointee.control_length = core.configuration.controlBufferSize
    // Reserved even if no name is wanted, so that exactly `receiveBufferSize` bytes of each buffer
    // remain.
    setNameRoom()
  }

  var receiveAheadFlags: Int32 { withSocket { $0.receiveFlags(0) }! }

  /// Copies the address to connect or send to.
  func setName(_ name: RawSpan) {
    // SAFETY: there is room for as many bytes as checked here.
    precondition(
      name.byteCount <= OperationMemory.nameCapacity, "An address of \(name.byteCount) bytes")
    let room = unsafe memory.reserveName()
    unsafe name.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress {
        unsafe room.copyMemory(from: start, byteCount: bytes.count)
      }
    }
    unsafe header.pointee.name = room
    unsafe header.pointee.name_length = UInt32(name.byteCount)
  }
}
