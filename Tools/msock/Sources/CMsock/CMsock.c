// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CMsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int32_t result(long value) { return value < 0 ? -errno : (int32_t)value; }

// Moves the descriptors to 3 and up. They are first copied out of the way, because one may be at
// another's target.
static int32_t place(const msock_program *program) {
  int last = 3 + program->count;
  int copies[256];
  if (program->count > 256) return -EMFILE;
  for (int index = 0; index < program->count; index++) {
    copies[index] = fcntl(program->descriptors[index], F_DUPFD_CLOEXEC, last);
    if (copies[index] < 0) return -errno;
  }
  int input = program->input;
  if (input >= 0 && (input = fcntl(input, F_DUPFD_CLOEXEC, last)) < 0) return -errno;
  for (int index = 0; index < program->count; index++) {
    if (dup2(copies[index], 3 + index) < 0) return -errno;
  }
  if (input >= 0 && dup2(input, 0) < 0) return -errno;
  return 0;
}

static void restore_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
}

int32_t msock_become(const msock_program *program) {
  int32_t status = place(program);
  if (status < 0) return status;
  restore_signals();
  execvpe(program->words[0], program->words, program->environment);
  return -errno;
}

// LISTEN_PID is known only in the child, which writes it over the ten placeholder characters.
static void name_process(char *const *environment) {
  for (; *environment != NULL; environment++) {
    char *variable = *environment;
    if (strncmp(variable, "LISTEN_PID=", 11) != 0) continue;
    char digits[10];
    int count = 0;
    for (int process = (int)getpid(); process > 0; process /= 10) {
      digits[count++] = (char)('0' + process % 10);
    }
    for (int index = 0; index < count; index++) variable[11 + index] = digits[count - 1 - index];
    variable[11 + count] = 0;
  }
}

int32_t msock_start(const msock_program *program) {
  // The pipe reports why the program could not be started; its end reports that it was.
  int ends[2];
  // Our parent may ignore the signal, and then the kernel discards the status of children.
  signal(SIGCHLD, SIG_DFL);
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  // The child has only this thread. Other threads may have held locks, so it allocates nothing.
  pid_t child = fork();
  if (child == 0) {
    // Not at a number that is about to be replaced.
    int report = fcntl(ends[1], F_DUPFD_CLOEXEC, 3 + program->count);
    name_process(program->environment);
    int32_t failure = report < 0 ? -errno : msock_become(program);
    (void)!write(report, &failure, sizeof failure);
    _exit(127);
  }
  int failure = errno;
  (void)close(ends[1]);
  if (child < 0) {
    (void)close(ends[0]);
    return -failure;
  }
  int32_t reported;
  ssize_t length;
  do {
    length = read(ends[0], &reported, sizeof reported);
  } while (length < 0 && errno == EINTR);
  (void)close(ends[0]);
  if (length != sizeof reported) return child;
  (void)msock_wait(child);
  return reported;
}

void msock_await_end(int32_t process) {
  siginfo_t ending;
  while (waitid(P_PID, (id_t)process, &ending, WEXITED | WNOWAIT) < 0 && errno == EINTR) {}
}

int32_t msock_wait(int32_t process) {
  int status;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

enum { numbers_noted = 4096 };
static bool was_given[numbers_noted];

// Runs before any library has opened a descriptor of its own. If descriptors 0 to 2 are closed,
// they become /dev/null, opened so that using them is an error. Otherwise a socket would get the
// number, and printed output would go to it.
__attribute__((constructor)) static void note_descriptors(void) {
  for (int number = 0; number < numbers_noted; number++) was_given[number] = msock_is_open(number);
  for (int number = 0; number < 3; number++) {
    // The lowest free number is the closed one.
    if (!was_given[number]) (void)open("/dev/null", number == 0 ? O_WRONLY : O_RDONLY);
  }
}

bool msock_was_given(int32_t fd) { return fd >= 0 && fd < numbers_noted && was_given[fd]; }

bool msock_may_pass(int32_t fd) {
  return fd < numbers_noted ? msock_was_given(fd) : msock_is_open(fd);
}

bool msock_is_open(int32_t fd) { return fcntl(fd, F_GETFD) >= 0; }

int32_t msock_duplicate(int32_t fd, int32_t lowest) {
  return result(fcntl(fd, F_DUPFD_CLOEXEC, lowest));
}

int32_t msock_send(int32_t socket, const void *bytes, size_t count) {
  ssize_t sent;
  do {
    sent = send(socket, bytes, count, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return result((long)sent);
}

int32_t msock_set_blocking(int32_t fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 ? -errno : result(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

int32_t msock_pidfd_open(int32_t process) { return result(syscall(SYS_pidfd_open, process, 0)); }

int32_t msock_pidfd_getfd(int32_t pidfd, int32_t number) {
  return result(syscall(SYS_pidfd_getfd, pidfd, number, 0));
}

int32_t msock_descriptor_text(int32_t process, int32_t number, char *text, uint32_t capacity) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", process, number);
  return result(readlink(path, text, capacity));
}
