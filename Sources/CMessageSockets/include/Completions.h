// SPDX-License-Identifier: Apache-2.0
// How a driver reports a completion. The format is io_uring's; the epoll driver produces it too.
// CRing asserts that the numbers and layouts match io_uring's.
#ifndef CMESSAGESOCKETS_COMPLETIONS_H
#define CMESSAGESOCKETS_COMPLETIONS_H
#include <stdint.h>

typedef struct cms_completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;
} cms_completion;

enum : uint32_t {
  cms_completion_buffer = 1u << 0, // IORING_CQE_F_BUFFER
  cms_completion_more = 1u << 1, // IORING_CQE_F_MORE
  cms_completion_socket_nonempty = 1u << 2, // IORING_CQE_F_SOCK_NONEMPTY
};

// The header that a multishot receive writes in front of name, control data and payload (struct
// io_uring_recvmsg_out).
typedef struct cms_received_header {
  uint32_t name_length;
  uint32_t control_length;
  uint32_t payload_length;
  uint32_t flags;
} cms_received_header;

#endif
