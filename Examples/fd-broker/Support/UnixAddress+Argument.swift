// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MessageSockets

extension UnixAddress {
  /// The address that the user entered: a path, or `@NAME`.
  init(argument: String) throws {
    do {
      self =
        argument.hasPrefix("@")
        ? try UnixAddress(abstract: String(argument.dropFirst()))
        : try UnixAddress(path: FilePath(argument))
    } catch {
      throw ValidationError("'\(argument)' is no socket address: \(error)")
    }
  }
}

extension ServedDirectory {
  /// The directory that the user entered.
  init(existing path: String) throws {
    do { try self.init(FilePath(path)) } catch {
      throw ValidationError("the directory '\(path)' cannot be opened: \(error)")
    }
  }
}
