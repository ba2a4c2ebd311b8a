// SPDX-License-Identifier: Apache-2.0
// struct msghdr and struct iovec with fixed-width fields. Their layout equals the system's
// (asserted in MessageHeader.c), so Swift can fill them in place without importing <sys/socket.h>.
#ifndef CMESSAGESOCKETS_MESSAGE_HEADER_H
#define CMESSAGESOCKETS_MESSAGE_HEADER_H
#include <stddef.h>
#include <stdint.h>

typedef struct cms_iovec {
  void *base;
  size_t length;
} cms_iovec;

typedef struct cms_msghdr {
  void *name;
  uint32_t name_length;
  cms_iovec *vectors;
  size_t vector_count;
  void *control;
  size_t control_length;
  int32_t flags;
} cms_msghdr;

// sendmsg(2) and recvmsg(2), for the epoll driver and the blocking form. They return the bytes
// transferred or -errno; EINTR is retried.
int64_t cms_sendmsg(int32_t fd, const cms_msghdr *header, int32_t flags);
// The same call once: an EINTR is returned.
int64_t cms_sendmsg_once(int32_t fd, const cms_msghdr *header, int32_t flags);
int64_t cms_recvmsg(int32_t fd, cms_msghdr *header, int32_t flags);

#endif
