// SPDX-License-Identifier: Apache-2.0
// Sockets and wake-up descriptors. All descriptors are created close-on-exec. Each function returns
// a value or -errno.
#ifndef CMESSAGESOCKETS_SOCKETS_H
#define CMESSAGESOCKETS_SOCKETS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET: Glibc's overlay imports them as an enum.
enum : int32_t {
  cms_socket_stream = 1,
  cms_socket_datagram = 2,
  cms_socket_seqpacket = 5,
};

enum : int32_t {
  cms_family_unix = 1,
  cms_family_internet_v4 = 2,
  cms_family_internet_v6 = 10,
  cms_family_vsock = 40,
};

enum : int32_t {
  cms_msg_oob = 0x1,
  cms_msg_peek = 0x2,
  cms_msg_ctrunc = 0x8,
  cms_msg_trunc = 0x20,
  cms_msg_dontwait = 0x40,
  cms_msg_eor = 0x80,
  cms_msg_waitall = 0x100,
  cms_msg_errqueue = 0x2000,
  cms_msg_nosignal = 0x4000,
  cms_msg_cmsg_cloexec = 0x40000000,
};

// O_PATH: Glibc's overlay does not show it.
enum : int32_t { cms_open_path = 0x200000 };

int32_t cms_socket(int32_t family, int32_t type);
int32_t cms_unix_socketpair(int32_t type, int32_t *first, int32_t *second);
int32_t cms_bind(int32_t fd, const void *name, uint32_t name_length);
// connect(2). Blocks unless the socket is O_NONBLOCK. EINTR is not retried, because the kernel
// keeps establishing the connection.
int32_t cms_connect(int32_t fd, const void *name, uint32_t name_length);
int32_t cms_listen(int32_t fd, int32_t backlog);
int32_t cms_shutdown(int32_t fd, bool read, bool write);
int32_t cms_local_name(int32_t fd, void *name, uint32_t *name_length);
int32_t cms_peer_name(int32_t fd, void *name, uint32_t *name_length);
// getsockopt(2), setsockopt(2).
int32_t cms_get_option(int32_t fd, int32_t level, int32_t name, void *value, uint32_t *length);
int32_t cms_set_option(int32_t fd, int32_t level, int32_t name, const void *value, uint32_t length);
int32_t cms_set_close_on_exec(int32_t fd);
// Duplicates the descriptor; the copy is close-on-exec.
int32_t cms_duplicate(int32_t fd);
int32_t cms_close(int32_t fd);
uint32_t cms_effective_user(void); // geteuid(2)

// An eventfd(2): close-on-exec, non-blocking.
int32_t cms_eventfd(void);
int32_t cms_eventfd_signal(int32_t fd);
// Waits for a signal, at most `timeout_ms` milliseconds (-1: without limit), and consumes it.
void cms_eventfd_wait(int32_t fd, int32_t timeout_ms);

#endif
