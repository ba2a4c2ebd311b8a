// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

// Second owners of open files, for example for a message that is peeked at (`MSG_PEEK`).

extension OwnedFds {
  /// Duplicates all descriptors. One that cannot be duplicated because the process has no
  /// descriptor left becomes a failure at its position.
  package init(duplicating other: borrowing OwnedFds, failures: inout [DescriptorFailure]) {
    self.init()
    let missing = failures
    let originals = other.span
    var position = 0
    for index in originals.indices {
      // Skip the positions of slots that had already failed.
      while missing.contains(where: { $0.position == position }) { position += 1 }
      do throws(Errno) {
        append(try originals[index].duplicate())
      } catch {
        failures.append(DescriptorFailure(position: position, slot: -error.rawValue))
      }
      position += 1
    }
  }
}

extension ProcessFd {
  package static func duplicate(_ process: borrowing Result<ProcessFd, Errno>?) -> Result<
    ProcessFd, Errno
  >? {
    switch process {
    case nil: return nil
    case .failure(let errno)?: return .failure(errno)
    case .success(let descriptor)?:
      do throws(Errno) {
        return .success(try descriptor.duplicate())
      } catch { return .failure(error) }
    }
  }
}
