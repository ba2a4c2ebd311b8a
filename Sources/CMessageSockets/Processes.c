// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Processes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

// Newer than Debian 12's headers.
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

static int32_t result(int value) { return value < 0 ? -errno : value; }

static int open_process(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int32_t cms_process_open(int32_t process) { return result(open_process(process)); }

int32_t cms_is_close_on_exec(int32_t fd) {
  int flags = fcntl(fd, F_GETFD);
  return flags < 0 ? -errno : (flags & FD_CLOEXEC) != 0;
}

int32_t cms_process_identity(uint64_t *identity) {
  int fd = open_process(getpid());
  if (fd < 0) return -errno;
  struct statfs filesystem;
  struct stat status;
  int32_t outcome = -ENOTSUP;
  bool has_numbers = fstatfs(fd, &filesystem) == 0 && filesystem.f_type == PID_FS_MAGIC;
  if (has_numbers && fstat(fd, &status) == 0) {
    *identity = status.st_ino;
    outcome = 0;
  }
  (void)close(fd);
  return outcome;
}

// MARK: In the child, between fork(2) and execve(2): only async-signal-safe calls

static void reset_signals(void) {
  for (int number = 1; number < 65; number++) (void)signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

// The child must not inherit descriptors that this process opened without close-on-exec. `first` is
// free. Returns the number that `report` has afterwards.
static int keep_only(int first, int report) {
  if (syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return report;
  // Before Linux 5.11, close_range(2) closes only.
  if (report != first && dup3(report, first, O_CLOEXEC) == first) report = first;
  if (report == first && syscall(SYS_close_range, first + 1, ~0U, 0) == 0) return report;
  // It is missing before Linux 5.9, or forbidden.
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return report;
  rlim_t end = limit.rlim_max < 1 << 20 ? limit.rlim_max : 1 << 20;
  for (rlim_t fd = (rlim_t)first; fd < end; fd++) (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
  return report;
}

// The wrappers of the C library signal all threads that it knows, so they are not used here. On
// 32-bit systems the calls for IDs of 32 bits have names of their own.
#ifdef SYS_setresuid32
enum { set_user = SYS_setresuid32, set_group = SYS_setresgid32, set_groups = SYS_setgroups32 };
#else
enum { set_user = SYS_setresuid, set_group = SYS_setresgid, set_groups = SYS_setgroups };
#endif

// Returns the step that failed, with errno; or nothing.
static enum cms_start_step reduce_rights(const cms_service_start *start) {
  if (start->changes_user) {
    // -1 would leave the ID as it is.
    errno = EINVAL;
    if (start->group == UINT32_MAX) return cms_step_group;
    if (start->user == UINT32_MAX) return cms_step_user;
    // The user comes last, since it takes away the right to change the groups.
    if (syscall(set_groups, 0, NULL) < 0) return cms_step_groups;
    if (syscall(set_group, start->group, start->group, start->group) < 0) return cms_step_group;
    // Without an effect before Linux 4.3, which has no ambient capabilities.
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(set_user, start->user, start->user, start->user) < 0) return cms_step_user;
  }
  if (start->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    return cms_step_no_new_privileges;
  }
  return cms_step_none;
}

static void write_number(char *text, pid_t number) {
  char digits[10];
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  while (count > 0) *text++ = digits[--count];
  *text = 0;
}

typedef struct failure {
  int32_t reason; // errno
  int32_t step;
} failure;

// Returns the step that failed, with errno.
static enum cms_start_step run(const cms_service_start *start, const int *copies, int *report) {
  // All copies, and `report`, have higher numbers than any target, so no dup2(2) overwrites one.
  for (uint32_t index = 0; index < start->count; index++) {
    if (dup2(copies[index], (int)(3 + index)) < 0) return cms_step_descriptors;
  }
  if (start->output >= 0) {
    int output = copies[start->count];
    if (dup2(output, 1) < 0 || dup2(output, 2) < 0) return cms_step_descriptors;
  }
  *report = keep_only((int)(3 + start->count), *report);
  enum cms_start_step step = reduce_rights(start);
  if (step != cms_step_none) return step;
  if (start->process_text != NULL) write_number(start->process_text, getpid());
  (void)execve(start->path, start->arguments, start->environment);
  return cms_step_program;
}

static _Noreturn void become(const cms_service_start *start, const int *copies, int report) {
  reset_signals();
  failure failed = {.step = run(start, copies, &report)};
  failed.reason = errno;
  (void)!write(report, &failed, sizeof failed);
  _exit(127);
}

// MARK: In the parent

static int32_t wait_for_exec(int report, pid_t process, int32_t *step) {
  failure failed = {0};
  ssize_t length;
  while ((length = read(report, &failed, sizeof failed)) < 0 && errno == EINTR) {}
  if (length != sizeof failed) return 0;
  while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {}
  *step = failed.step;
  return -failed.reason;
}

static int32_t fork_and_run(const cms_service_start *start, const int *copies, const int *report,
                            int32_t *process) {
  sigset_t all, before;
  sigfillset(&all);
  // No signal handler of this program may run in the child.
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t child = fork();
  if (child == 0) become(start, copies, report[1]);
  int32_t failure = child < 0 ? -errno : 0;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  *process = child;
  return failure;
}

int32_t cms_start_service(const cms_service_start *start, int32_t *process, int32_t *process_fd,
                          int32_t *step) {
  *step = cms_step_none;
  int first = (int)(3 + start->count);
  uint32_t wanted = start->count + (start->output >= 0 ? 1 : 0), made = 0;
  int *copies = calloc(wanted + 1, sizeof *copies);
  if (copies == NULL) return -ENOMEM;
  int ends[2] = {-1, -1}, report[2] = {-1, -1};
  int32_t outcome = 0;
  for (; made < wanted; made++) {
    int original = made < start->count ? start->descriptors[made] : start->output;
    copies[made] = fcntl(original, F_DUPFD_CLOEXEC, first);
    if (copies[made] < 0) break;
  }
  if (made < wanted || pipe2(ends, O_CLOEXEC) < 0) outcome = -errno;
  if (outcome == 0) {
    report[0] = ends[0];
    report[1] = fcntl(ends[1], F_DUPFD_CLOEXEC, first);
    if (report[1] < 0) outcome = -errno;
  }
  if (outcome == 0) outcome = fork_and_run(start, copies, report, process);
  // Close the parent's write ends, so that the child holds the only one.
  if (ends[1] >= 0) (void)close(ends[1]);
  if (report[1] >= 0) (void)close(report[1]);
  if (outcome == 0) outcome = wait_for_exec(report[0], *process, step);
  if (ends[0] >= 0) (void)close(ends[0]);
  while (made > 0) (void)close(copies[--made]);
  free(copies);
  if (outcome != 0) return outcome;
  // The child has not been waited for, so its process number cannot have been reused.
  *process_fd = open_process(*process);
  if (*process_fd >= 0) return 0;
  outcome = -errno;
  (void)kill(*process, SIGKILL);
  (void)waitpid(*process, NULL, 0);
  return outcome;
}

int32_t cms_wait_for_end(int32_t process_fd, int32_t wake) {
  struct pollfd wanted[2] = {{.fd = process_fd, .events = POLLIN}, {.fd = wake, .events = POLLIN}};
  while (poll(wanted, 2, -1) < 0 && errno == EINTR) {}
  return wanted[0].revents != 0;
}

int32_t cms_take_exit_status(int32_t process_fd, int32_t *status) {
  siginfo_t found = {0};
  if (waitid((idtype_t)P_PIDFD, (id_t)process_fd, &found, WEXITED | WNOHANG) < 0) return -errno;
  if (found.si_pid == 0) return -EAGAIN;
  *status = found.si_code == CLD_EXITED ? found.si_status : -found.si_status;
  return 0;
}

int32_t cms_signal_process(int32_t process_fd, int32_t signal) {
  return result((int)syscall(SYS_pidfd_send_signal, process_fd, signal, NULL, 0));
}
