// SPDX-License-Identifier: Apache-2.0
internal import CMessageSockets

/// Fewer rights for a child than this process has: for privilege separation, where one process
/// opens what only it may open, and another works with it.
///
/// ```swift
/// command.rights = .user(65534, group: 65534)
/// ```
/// The program cannot gain rights: the bits set-user-ID and set-group-ID of files, and their
/// capabilities, have no effect in it or its children. The C name is `PR_SET_NO_NEW_PRIVS` of
/// prctl(2).
///
/// The program starts with these rights. Its file must therefore be executable for them, and each
/// directory of its path searchable; `/proc/self/exe`, this process's own program, is found in any
/// directory. The environment, the working directory and the standard streams stay this process's,
/// unless the command says otherwise.
public struct ServiceRights: Sendable, Hashable {
  /// The child's user ID and group ID; nil keeps those of this process.
  let ids: IDs?

  struct IDs: Sendable, Hashable {
    let user: UInt32
    let group: UInt32
  }

  /// The rights of this process, and no others later. Needs no right.
  public static var noNewPrivileges: ServiceRights { ServiceRights(ids: nil) }

  /// The rights of another user: its real, effective and saved user ID and group ID become these,
  /// and it has no supplementary groups. The C names are setresuid(2), setresgid(2) and
  /// setgroups(2).
  ///
  /// Needs `CAP_SETUID` and `CAP_SETGID`, which root has. A child whose user ID is not 0 has no
  /// capabilities.
  ///
  /// - Parameters:
  ///   - userID: Its user ID. `UInt32.max` is none, and starting the command throws.
  ///   - groupID: Its group ID, likewise.
  public static func user(_ userID: UInt32, group groupID: UInt32) -> ServiceRights {
    ServiceRights(ids: IDs(user: userID, group: groupID))
  }
}

/// What could not be done in a child before its program ran.
enum StartStep {
  static func description(_ step: Int32, _ rights: ServiceRights?) -> String? {
    let ids = rights?.ids
    return switch cms_start_step(rawValue: UInt32(step)) {
    case cms_step_descriptors: "its descriptors could not be set up"
    case cms_step_groups: "its supplementary groups could not be removed"
    case cms_step_group: "its group could not be set to \(ids?.group ?? 0)"
    case cms_step_user: "its user could not be set to \(ids?.user ?? 0)"
    case cms_step_no_new_privileges: "it could not be kept from gaining privileges"
    case cms_step_program: "the program could not be run"
    default: nil
    }
  }
}
