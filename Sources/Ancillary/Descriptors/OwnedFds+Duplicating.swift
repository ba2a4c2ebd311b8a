// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

// A second owner of the same open files, as a message that is looked at twice needs (`MSG_PEEK`).

extension OwnedFds {
  /// What cannot be duplicated, because the process has no descriptor left, is a failure at its
  /// position.
  package init(duplicating other: borrowing OwnedFds, failures: inout [DescriptorFailure]) {
    self.init()
    let missing = failures
    let originals = other.span
    var position = 0
    for index in originals.indices {
      // The places of the slots that had failed before are taken.
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
