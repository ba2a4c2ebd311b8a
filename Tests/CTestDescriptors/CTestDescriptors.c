// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CTestDescriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t result(long value) { return value < 0 ? -errno : (int32_t)value; }

int32_t ctd_memory_file(void) {
  return result(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}
int32_t ctd_add_seals(int32_t fd, int32_t seals) { return result(fcntl(fd, F_ADD_SEALS, seals)); }
int32_t ctd_event(void) { return result(eventfd(0, EFD_CLOEXEC)); }
int32_t ctd_epoll(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }
int32_t ctd_inotify(void) { return result(inotify_init1(IN_CLOEXEC)); }
int32_t ctd_pidfd(int32_t process) { return result(syscall(434 /* pidfd_open */, process, 0)); }

int32_t ctd_set_linger(int32_t fd, int32_t seconds) {
  struct linger linger = {.l_onoff = 1, .l_linger = seconds};
  return result(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

int32_t ctd_fork_until_end(int32_t fd) {
  // The child is the result of a fork without exec: it has our memory and descriptors, but none of
  // our threads. Bare system calls are used because a sanitizer's own fork, read and exit may wait
  // for a thread that does not exist there.
  long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child != 0) return result(child);
  char byte;
  while (syscall(SYS_read, fd, &byte, 1) < 0) {}
  for (;;) syscall(SYS_exit_group, 0);
}

int32_t ctd_ring_open_file(void *ring) {
  struct io_uring_sqe *entry = io_uring_get_sqe(ring);
  if (entry == NULL) return -EBUSY;
  io_uring_prep_openat(entry, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
  struct io_uring_cqe *completion;
  int status = io_uring_submit_and_wait(ring, 1);
  if (status < 0) return status;
  status = io_uring_peek_cqe(ring, &completion);
  if (status < 0) return status;
  status = completion->res;
  io_uring_cqe_seen(ring, completion);
  if (status >= 0) close(status);
  return status;
}

int32_t ctd_ring_register_eventfd(void *ring) {
  int event = eventfd(0, EFD_CLOEXEC);
  int status = io_uring_register_eventfd(ring, event);
  close(event);
  return status;
}
