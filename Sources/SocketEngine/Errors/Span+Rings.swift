// SPDX-License-Identifier: Apache-2.0
internal import Ancillary
internal import SystemPackage

extension Span<FileDescriptor> {
  /// Whether an io_uring is among them, which Linux refuses to send: asked when it has refused.
  var containsRing: Bool { indices.contains { self[$0].shownName == "anon_inode:[io_uring]" } }
}
