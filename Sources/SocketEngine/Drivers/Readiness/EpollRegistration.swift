// SPDX-License-Identifier: Apache-2.0
/// A socket's place in its loop's ``EpollSet``. The socket drops it before it closes its
/// descriptor.
///
/// Closing alone would not do: epoll watches the open file, and that lives on if the socket was
/// sent to somebody else. It would then wake the loop for ever, and could not be taken out any
/// more.
struct EpollRegistration: ~Copyable {
  private let set: EpollSet
  private let number: Int32

  /// For a number that was added to `set`.
  init(of number: Int32, in set: EpollSet) {
    self.set = set
    self.number = number
  }

  deinit { set.remove(number) }
}
