// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(cms_socket_stream == SOCK_STREAM, "SOCK_STREAM");
_Static_assert(cms_socket_datagram == SOCK_DGRAM, "SOCK_DGRAM");
_Static_assert(cms_socket_seqpacket == SOCK_SEQPACKET, "SOCK_SEQPACKET");
_Static_assert(cms_msg_oob == MSG_OOB, "MSG_OOB");
_Static_assert(cms_msg_peek == MSG_PEEK, "MSG_PEEK");
_Static_assert(cms_msg_ctrunc == MSG_CTRUNC, "MSG_CTRUNC");
_Static_assert(cms_msg_trunc == MSG_TRUNC, "MSG_TRUNC");
_Static_assert(cms_msg_dontwait == MSG_DONTWAIT, "MSG_DONTWAIT");
_Static_assert(cms_msg_eor == MSG_EOR, "MSG_EOR");
_Static_assert(cms_msg_waitall == MSG_WAITALL, "MSG_WAITALL");
_Static_assert(cms_msg_errqueue == MSG_ERRQUEUE, "MSG_ERRQUEUE");
_Static_assert(cms_family_unix == AF_UNIX, "AF_UNIX");
_Static_assert(cms_family_internet_v4 == AF_INET, "AF_INET");
_Static_assert(cms_family_internet_v6 == AF_INET6, "AF_INET6");
_Static_assert(cms_family_vsock == AF_VSOCK, "AF_VSOCK");
_Static_assert(cms_open_path == O_PATH, "O_PATH");
_Static_assert(cms_msg_nosignal == MSG_NOSIGNAL, "MSG_NOSIGNAL");
_Static_assert(cms_msg_cmsg_cloexec == MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC");

static int32_t result(int value) { return value < 0 ? -errno : value; }

int32_t cms_socket(int32_t family, int32_t type) {
  return result(socket(family, type | SOCK_CLOEXEC, 0));
}

int32_t cms_unix_socketpair(int32_t type, int32_t *first, int32_t *second) {
  int pair[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  *first = pair[0];
  *second = pair[1];
  return 0;
}

int32_t cms_bind(int32_t fd, const void *name, uint32_t name_length) {
  return result(bind(fd, (const struct sockaddr *)name, (socklen_t)name_length));
}

int32_t cms_connect(int32_t fd, const void *name, uint32_t name_length) {
  return result(connect(fd, (const struct sockaddr *)name, (socklen_t)name_length));
}

int32_t cms_listen(int32_t fd, int32_t backlog) { return result(listen(fd, backlog)); }

int32_t cms_shutdown(int32_t fd, bool read, bool write) {
  return result(shutdown(fd, read && write ? SHUT_RDWR : read ? SHUT_RD : SHUT_WR));
}

int32_t cms_local_name(int32_t fd, void *name, uint32_t *name_length) {
  socklen_t length = *name_length;
  int status = getsockname(fd, (struct sockaddr *)name, &length);
  *name_length = length;
  return result(status);
}

int32_t cms_peer_name(int32_t fd, void *name, uint32_t *name_length) {
  socklen_t length = *name_length;
  int status = getpeername(fd, (struct sockaddr *)name, &length);
  *name_length = length;
  return result(status);
}

int32_t cms_get_option(int32_t fd, int32_t level, int32_t name, void *value, uint32_t *length) {
  socklen_t size = *length;
  int status = getsockopt(fd, level, name, value, &size);
  *length = size;
  return result(status);
}

int32_t cms_set_option(int32_t fd, int32_t level, int32_t name, const void *value,
                       uint32_t length) {
  return result(setsockopt(fd, level, name, value, (socklen_t)length));
}

int32_t cms_set_close_on_exec(int32_t fd) { return result(fcntl(fd, F_SETFD, FD_CLOEXEC)); }

int32_t cms_duplicate(int32_t fd) { return result(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

int32_t cms_close(int32_t fd) { return result(close(fd)); }

uint32_t cms_effective_user(void) { return (uint32_t)geteuid(); }

int32_t cms_eventfd(void) { return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int32_t cms_eventfd_signal(int32_t fd) { return result(eventfd_write(fd, 1)); }

void cms_eventfd_wait(int32_t fd, int32_t timeout_ms) {
  struct pollfd wanted = {.fd = fd, .events = POLLIN};
  eventfd_t count;
  if (poll(&wanted, 1, timeout_ms) > 0) (void)eventfd_read(fd, &count);
}
