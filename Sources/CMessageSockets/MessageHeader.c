// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "MessageHeader.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

_Static_assert(sizeof(cms_iovec) == sizeof(struct iovec), "cms_iovec must be struct iovec");
_Static_assert(offsetof(cms_iovec, base) == offsetof(struct iovec, iov_base), "iov_base");
_Static_assert(offsetof(cms_iovec, length) == offsetof(struct iovec, iov_len), "iov_len");

_Static_assert(sizeof(cms_msghdr) == sizeof(struct msghdr), "cms_msghdr must be struct msghdr");
_Static_assert(offsetof(cms_msghdr, name) == offsetof(struct msghdr, msg_name), "msg_name");
_Static_assert(offsetof(cms_msghdr, name_length) == offsetof(struct msghdr, msg_namelen),
               "msg_namelen");
_Static_assert(offsetof(cms_msghdr, vectors) == offsetof(struct msghdr, msg_iov), "msg_iov");
_Static_assert(offsetof(cms_msghdr, vector_count) == offsetof(struct msghdr, msg_iovlen),
               "msg_iovlen");
_Static_assert(offsetof(cms_msghdr, control) == offsetof(struct msghdr, msg_control),
               "msg_control");
_Static_assert(offsetof(cms_msghdr, control_length) == offsetof(struct msghdr, msg_controllen),
               "msg_controllen");
_Static_assert(offsetof(cms_msghdr, flags) == offsetof(struct msghdr, msg_flags), "msg_flags");

int64_t cms_sendmsg(int32_t fd, const cms_msghdr *header, int32_t flags) {
  ssize_t result;
  do {
    result = sendmsg(fd, (const struct msghdr *)header, flags);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

int64_t cms_sendmsg_once(int32_t fd, const cms_msghdr *header, int32_t flags) {
  ssize_t result = sendmsg(fd, (const struct msghdr *)header, flags);
  return result < 0 ? -errno : result;
}

int64_t cms_recvmsg(int32_t fd, cms_msghdr *header, int32_t flags) {
  ssize_t result;
  do {
    result = recvmsg(fd, (struct msghdr *)header, flags);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}
