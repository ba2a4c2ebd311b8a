// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(cms_event_readable == EPOLLIN, "EPOLLIN");
_Static_assert(cms_event_urgent == EPOLLPRI, "EPOLLPRI");
_Static_assert(cms_event_writable == EPOLLOUT, "EPOLLOUT");
_Static_assert(cms_event_error == EPOLLERR, "EPOLLERR");
_Static_assert(cms_event_hangup == EPOLLHUP, "EPOLLHUP");
_Static_assert(cms_event_peer_shutdown == EPOLLRDHUP, "EPOLLRDHUP");

// Linux 5.11, newer than the headers of some systems. Every architecture uses this number.
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static int32_t result(int value) { return value < 0 ? -errno : value; }

int32_t cms_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

static int32_t control(int32_t epoll, int operation, int32_t fd, uint32_t events) {
  struct epoll_event event = {.events = events | EPOLLET, .data = {.fd = fd}};
  return result(epoll_ctl(epoll, operation, fd, &event));
}

int32_t cms_epoll_add(int32_t epoll, int32_t fd, uint32_t events) {
  return control(epoll, EPOLL_CTL_ADD, fd, events);
}
int32_t cms_epoll_modify(int32_t epoll, int32_t fd, uint32_t events) {
  return control(epoll, EPOLL_CTL_MOD, fd, events);
}
int32_t cms_epoll_remove(int32_t epoll, int32_t fd) { return control(epoll, EPOLL_CTL_DEL, fd, 0); }

// The timeout has nanosecond resolution where the kernel supports it (5.11); otherwise it is
// rounded up to whole milliseconds.
static int wait_for_events(int32_t epoll, struct epoll_event *events, int capacity,
                           int64_t timeout_ns) {
  static atomic_bool has_no_pwait2;
  if (timeout_ns <= 0) return epoll_wait(epoll, events, capacity, timeout_ns < 0 ? -1 : 0);
  if (!atomic_load_explicit(&has_no_pwait2, memory_order_relaxed)) {
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    int count = (int)syscall(SYS_epoll_pwait2, epoll, events, capacity, &timeout, NULL, (size_t)0);
    // Old container profiles answer unknown system calls with EPERM.
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
    atomic_store_explicit(&has_no_pwait2, true, memory_order_relaxed);
  }
  int64_t milliseconds = timeout_ns / 1000000 + 1;
  return epoll_wait(epoll, events, capacity,
                    milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
}

int32_t cms_epoll_wait(int32_t epoll, cms_event *events, uint32_t capacity, int64_t timeout_ns) {
  struct epoll_event found[cms_events_capacity];
  int limit = capacity < cms_events_capacity ? (int)capacity : (int)cms_events_capacity;
  int count = wait_for_events(epoll, found, limit, timeout_ns);
  if (count < 0) return -errno;
  for (int index = 0; index < count; index += 1) {
    events[index] = (cms_event){found[index].data.fd, found[index].events};
  }
  return count;
}

int32_t cms_accept(int32_t fd) {
  int accepted;
  do {
    accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
  } while (accepted < 0 && errno == EINTR);
  return result(accepted);
}

static bool is_ready(int32_t fd, short events) {
  struct pollfd wanted = {.fd = fd, .events = events};
  int count;
  do {
    count = poll(&wanted, 1, 0);
  } while (count < 0 && errno == EINTR);
  return count > 0;
}

bool cms_is_readable(int32_t fd) { return is_ready(fd, POLLIN); }

bool cms_is_writable(int32_t fd) { return is_ready(fd, POLLOUT); }

int32_t cms_set_nonblocking(int32_t fd, bool enabled) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  int wanted = enabled ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return wanted == flags ? 0 : result(fcntl(fd, F_SETFL, wanted));
}

bool cms_is_nonblocking(int32_t fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) != 0;
}
