// SPDX-License-Identifier: Apache-2.0
// The identity of this process, and starting other processes with descriptors. Each function
// returns a value or -errno.
#ifndef CMESSAGESOCKETS_PROCESSES_H
#define CMESSAGESOCKETS_PROCESSES_H
#include <stdbool.h>
#include <stdint.h>

// pidfd_open(2), Linux 5.3: a close-on-exec descriptor for the process with this number.
int32_t cms_process_open(int32_t process);

// F_GETFD: whether the descriptor is close-on-exec, or -EBADF if it is not open.
int32_t cms_is_close_on_exec(int32_t fd);

// The inode number of this process's pidfd in pidfs (Linux 6.9), which is never reused while the
// system runs. Returns -ENOTSUP if the kernel has no pidfs.
int32_t cms_process_identity(uint64_t *identity);

typedef struct cms_service_start {
  const char *path; // program for execve(2), which does not search PATH
  char *const *arguments;
  char *const *environment;
  // A place inside one string of `environment` where the child writes its own process number: at
  // most 10 digits and a NUL. NULL if it is not wanted.
  char *process_text;
  const int32_t *descriptors; // become 3, 4, … in the child
  uint32_t count;
  int32_t output; // becomes 1 and 2 of the child; -1: inherits ours
  // Sets the real, effective and saved IDs to `user` and `group`, and removes all supplementary
  // groups. An ID of UINT32_MAX is refused with EINVAL.
  bool changes_user;
  uint32_t user;
  uint32_t group;
  bool no_new_privileges; // PR_SET_NO_NEW_PRIVS
} cms_service_start;

// What failed in the child before the program ran.
enum cms_start_step {
  cms_step_none, // nothing, or something in this process
  cms_step_descriptors,
  cms_step_groups,
  cms_step_group,
  cms_step_user,
  cms_step_no_new_privileges,
  cms_step_program,
};

// Starts a child process with fork(2). All signals have their default action and none is blocked;
// the child gets descriptors 0 to 2 and those that are passed, no others. Returns once the program
// runs, or could not be run. Sets `process_fd` to a pidfd of the child, or `step` to what failed in
// the child.
int32_t cms_start_service(const cms_service_start *start, int32_t *process, int32_t *process_fd,
                          int32_t *step);

// Waits until the process ends (returns 1) or the eventfd `wake` is signalled (returns 0).
int32_t cms_wait_for_end(int32_t process_fd, int32_t wake);
// Reaps a child that has ended. `status` becomes its exit status, or a signal's number, negated.
int32_t cms_take_exit_status(int32_t process_fd, int32_t *status);
// pidfd_send_signal(2).
int32_t cms_signal_process(int32_t process_fd, int32_t signal);

#endif
