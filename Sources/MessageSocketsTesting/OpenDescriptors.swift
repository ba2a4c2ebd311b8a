// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import CMessageSockets
internal import MessageSockets

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The descriptors that this process has open, as a test compares them before and after.
///
/// ``withDescriptorCheck(ignoring:waiting:_:)`` does the comparison around a body. Use this type
/// where a body does not fit, as in `setUp` and `tearDown` of XCTest:
/// ```swift
/// let before = OpenDescriptors()
/// …
/// if let leak = await OpenDescriptors.difference(from: before) { throw leak }
/// ```
public struct OpenDescriptors: Hashable, Sendable {
  /// The target of each open descriptor, by its number, as /proc/self/fd shows it:
  /// `socket:[4711]`, `/etc/hostname`, `anon_inode:[eventfd]`.
  public let targets: [Int32: String]

  /// Looks at the descriptors that are open now.
  ///
  /// - Parameter isIgnored: Returns `true` for the target of a descriptor to leave out. By default
  ///   these are the descriptors that the thread pool on which Swift runs tasks opens at any time:
  ///   see ``isOfThreadPool(_:)``.
  public init(ignoring isIgnored: (String) -> Bool = OpenDescriptors.isOfThreadPool) {
    var targets: [Int32: String] = [:]
    for number in Self.numbers() {
      if let target = Self.target(of: number), !isIgnored(target) { targets[number] = target }
    }
    self.targets = targets
  }

  /// Returns `true` for the target of a timer (timerfd_create(2)), of which this package makes
  /// none, and of `/proc/N/stat`. Dispatch opens the latter for a moment, to see which of its
  /// threads are running.
  public static func isOfThreadPool(_ target: String) -> Bool {
    target == "anon_inode:[timerfd]" || isThreadStatus(target)
  }

  /// Whether the target is `/proc/N/stat`.
  package static func isThreadStatus(_ target: String) -> Bool {
    target.hasPrefix("/proc/") && target.hasSuffix("/stat")
  }

  /// Compares the descriptors that are open now with those that were open `before`. Looks again
  /// until there is no difference, or `patience` has passed: a socket that was dropped closes on
  /// its loop, and a descriptor that a policy refused closes on another thread, both a moment
  /// later.
  ///
  /// - Returns: nil if there is no difference.
  public static func difference(
    from before: OpenDescriptors,
    ignoring isIgnored: (String) -> Bool = OpenDescriptors.isOfThreadPool,
    waiting patience: Duration = .seconds(5)
  ) async -> DescriptorDifference? {
    let limit = ContinuousClock.now + patience
    while true {
      let difference = DescriptorDifference(before, OpenDescriptors(ignoring: isIgnored))
      if difference.isEmpty { return nil }
      if ContinuousClock.now >= limit { return difference }
      await Task.yield()
    }
  }

  private static func numbers() -> [Int32] {
    guard let directory = unsafe opendir("/proc/self/fd") else {
      // No descriptor is free, or /proc is not mounted.
      return (0..<65536).filter { cms_is_close_on_exec($0) >= 0 }
    }
    // SAFETY: the directory stays open until the end of this function.
    defer { unsafe closedir(directory) }
    var numbers: [Int32] = []
    while let entry = unsafe readdir(directory) {
      // SAFETY: the name ends with a NUL, and the entry is valid until the next call. The entry may
      // be shorter than its type, so the name is only read up to its end.
      let start = unsafe UnsafeRawPointer(entry) + MemoryLayout<dirent>.offset(of: \.d_name)!
      let name = unsafe String(cString: start.assumingMemoryBound(to: CChar.self))
      if let number = Int32(name), unsafe number != dirfd(directory) { numbers.append(number) }
    }
    return numbers
  }

  /// The target of a descriptor; nil if it is not open.
  private static func target(of number: Int32) -> String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
      let length = unsafe cms_descriptor_text(number, text.baseAddress, UInt32(text.count))
      if length < 0 { return cms_is_close_on_exec(number) < 0 ? nil : "" }
      // SAFETY: the call has filled this many bytes.
      return unsafe String(
        decoding: UnsafeRawBufferPointer(text)[..<min(Int(length), text.count)], as: UTF8.self)
    }
  }
}

/// The error for descriptors that were left open, or closed, between two looks.
public struct DescriptorDifference: Error, Equatable {
  /// Descriptors that are open and were not open before, by number, with their targets.
  public let opened: [Int32: String]
  /// Descriptors that were open before and are not open now. The code that was tested has closed a
  /// descriptor that it did not own.
  public let closed: [Int32: String]

  /// The difference from `before` to `after`. A number whose target has changed is in both lists.
  public init(_ before: OpenDescriptors, _ after: OpenDescriptors) {
    opened = after.targets.filter { before.targets[$0.key] != $0.value }
    closed = before.targets.filter { after.targets[$0.key] != $0.value }
  }

  /// Returns `true` if nothing differs.
  public var isEmpty: Bool { opened.isEmpty && closed.isEmpty }
}

extension DescriptorDifference: CustomStringConvertible {
  /// The numbers with what they lead to: `left open: 7 (socket:[4711])`.
  public var description: String {
    func list(_ descriptors: [Int32: String]) -> String {
      descriptors.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }.joined(
        separator: ", ")
    }
    var parts: [String] = []
    if !opened.isEmpty { parts.append("left open: \(list(opened))") }
    if !closed.isEmpty { parts.append("no longer open: \(list(closed))") }
    return parts.isEmpty ? "no difference" : parts.joined(separator: "; ").visible
  }
}
