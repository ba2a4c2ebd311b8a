// SPDX-License-Identifier: Apache-2.0
// Processes: which one this is, and starting others with descriptors. Results are a value, or
// -errno.
#ifndef CMESSAGESOCKETS_PROCESSES_H
#define CMESSAGESOCKETS_PROCESSES_H
#include <stdbool.h>
#include <stdint.h>

// pidfd_open(2), Linux 5.3: a descriptor of the process with this number, close-on-exec.
int32_t cms_process_open(int32_t process);

// F_GETFD: whether the descriptor is close-on-exec. -EBADF: not open.
int32_t cms_is_close_on_exec(int32_t fd);

// The number that this process's pidfd has in pidfs (Linux 6.9), never used for another process
// while the system runs. -ENOTSUP: the kernel has no such numbers.
int32_t cms_process_identity(uint64_t *identity);

typedef struct cms_service_start {
  const char *path; // of the program, for execve(2): not searched for
  char *const *arguments;
  char *const *environment;
  // Inside one string of `environment`: where the child writes its own number, in at most 10 digits
  // and a NUL. NULL: nowhere.
  char *process_text;
  const int32_t *descriptors; // the child finds them as 3, 4, …
  uint32_t count;
  int32_t output; // becomes 1 and 2 of the child; -1: it has ours
} cms_service_start;

// Starts a child process, with fork(2): signals as by default, none blocked; of the descriptors of
// this process it has 0 to 2, and those that are passed. Returns when the program runs, or could
// not be run. `process_fd` is a pidfd of it.
int32_t cms_start_service(const cms_service_start *start, int32_t *process, int32_t *process_fd);

// Waits until the process has ended, or `wake` (an eventfd) is signalled: 1 or 0.
int32_t cms_wait_for_end(int32_t process_fd, int32_t wake);
// Takes the status of a child that has ended: an exit status, or the negative number of a signal.
int32_t cms_take_exit_status(int32_t process_fd, int32_t *status);
// pidfd_send_signal(2).
int32_t cms_signal_process(int32_t process_fd, int32_t signal);

#endif
