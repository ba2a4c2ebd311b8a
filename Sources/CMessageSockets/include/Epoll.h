// SPDX-License-Identifier: Apache-2.0
// epoll, and those system calls of the epoll driver that must never block. Nothing here makes
// decisions. Each function returns a value or -errno; EINTR is retried, except while waiting.
#ifndef CMESSAGESOCKETS_EPOLL_H
#define CMESSAGESOCKETS_EPOLL_H
#include <stdbool.h>
#include <stdint.h>

typedef struct cms_event {
  int32_t fd;
  uint32_t events;
} cms_event;

enum : uint32_t {
  cms_event_readable = 0x1, // EPOLLIN
  cms_event_urgent = 0x2, // EPOLLPRI
  cms_event_writable = 0x4, // EPOLLOUT
  cms_event_error = 0x8, // EPOLLERR, always reported
  cms_event_hangup = 0x10, // EPOLLHUP, always reported
  cms_event_peer_shutdown = 0x2000, // EPOLLRDHUP
};

enum : uint32_t { cms_events_capacity = 256 };

int32_t cms_epoll_create(void); // close-on-exec
// Edge-triggered. The event reports `fd`.
int32_t cms_epoll_add(int32_t epoll, int32_t fd, uint32_t events);
int32_t cms_epoll_modify(int32_t epoll, int32_t fd, uint32_t events);
int32_t cms_epoll_remove(int32_t epoll, int32_t fd);
// Waits for events, at most `timeout_ns` nanoseconds unless that is negative. Returns how many
// events were written (at most `cms_events_capacity`), or -errno (-EINTR after a signal).
int32_t cms_epoll_wait(int32_t epoll, cms_event *events, uint32_t capacity, int64_t timeout_ns);

// accept4(2) with SOCK_CLOEXEC. Blocks if the listener is not O_NONBLOCK and no connection is
// waiting.
int32_t cms_accept(int32_t fd);
// Whether something can be read or accepted now. Returns false if poll(2) fails.
bool cms_is_readable(int32_t fd);
// Whether something can be sent now. Returns false if poll(2) fails.
bool cms_is_writable(int32_t fd);

// O_NONBLOCK is a flag of the open file description, so it applies to every process that shares it.
int32_t cms_set_nonblocking(int32_t fd, bool enabled);
bool cms_is_nonblocking(int32_t fd);

#endif
