// SPDX-License-Identifier: Apache-2.0
/// Control bytes chosen by libFuzzer, in which each number that would be adopted is really open and
/// has no owner.
struct InstalledControl {
  private(set) var bytes: [UInt8] = []
  /// The files of all `SCM_RIGHTS`, in order.
  private(set) var files: [UInt64] = []
  private(set) var failures: [Delivery.Failure] = []
  /// The result of the first `SCM_PIDFD`.
  private(set) var process = ArrivedMessage.Process.none

  init() {}

  /// Walks the bytes as simply as possible, so that it does not share a bug with the code under
  /// test, and replaces the numbers.
  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    var offset = 0
    while bytes.count - offset >= 16 {
      let stated: UInt64 = load(offset)
      if stated < 16 { return }
      let length = Int(min(stated, UInt64(bytes.count - offset)))
      let kind: (Int32, Int32) = (load(offset + 8), load(offset + 12))
      let slots = stride(from: offset + 16, through: offset + length - 4, by: 4)
      if kind == (1, 1) { slots.forEach { installFile(at: $0) } }
      if kind == (1, 4), let first = slots.first(where: { _ in true }) { installProcess(at: first) }
      offset += (length + 7) / 8 * 8
    }
  }

  private mutating func installFile(at place: Int) {
    let slot: Int32 = load(place)
    if slot >= 0 {
      files.append(makeFile(at: place))
    } else {
      failures.append(
        Delivery.Failure(position: files.count + failures.count, errno: Self.errno(slot)))
    }
  }

  private mutating func installProcess(at place: Int) {
    let slot: Int32 = load(place)
    let new =
      slot >= 0
      ? ArrivedMessage.Process.file(makeFile(at: place))
      : .failure(.init(rawValue: Self.errno(slot)))
    if process == .none { process = new }
  }

  private mutating func makeFile(at place: Int) -> UInt64 {
    let file = NumberedFile()
    withUnsafeBytes(of: file.number) { bytes.replaceSubrange(place..<place + 4, with: $0) }
    return file.identity
  }

  /// The errno of a slot; a value that cannot be an errno counts as `EBADF`.
  private static func errno(_ slot: Int32) -> Int32 { slot >= -4095 ? -slot : 9 }

  private func load<T: FixedWidthInteger>(_ place: Int) -> T {
    bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: T.self) }
  }
}
