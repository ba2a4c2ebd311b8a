// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CRing.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than Debian 12's headers, or absent from older ones.
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

_Static_assert(cms_ring_clamp == IORING_SETUP_CLAMP, "CLAMP");
_Static_assert(cms_ring_submit_all == IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL");
_Static_assert(cms_ring_coop_taskrun == IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN");
_Static_assert(cms_ring_single_issuer == IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER");
_Static_assert(cms_ring_defer_taskrun == IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN");
_Static_assert(cms_ring_feature_nodrop == IORING_FEAT_NODROP, "NODROP");
_Static_assert(cms_ring_feature_submit_stable == IORING_FEAT_SUBMIT_STABLE, "SUBMIT_STABLE");
_Static_assert(cms_ring_feature_ext_arg == IORING_FEAT_EXT_ARG, "EXT_ARG");
_Static_assert(cms_ring_feature_native_workers == IORING_FEAT_NATIVE_WORKERS, "NATIVE_WORKERS");
_Static_assert(cms_ring_feature_rsrc_tags == IORING_FEAT_RSRC_TAGS, "RSRC_TAGS");
_Static_assert(cms_opcode_poll_add == (uint8_t)IORING_OP_POLL_ADD, "POLL_ADD");
_Static_assert(cms_opcode_sendmsg == (uint8_t)IORING_OP_SENDMSG, "SENDMSG");
_Static_assert(cms_opcode_recvmsg == (uint8_t)IORING_OP_RECVMSG, "RECVMSG");
_Static_assert(cms_opcode_accept == (uint8_t)IORING_OP_ACCEPT, "ACCEPT");
_Static_assert(cms_opcode_async_cancel == (uint8_t)IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL");
_Static_assert(cms_opcode_connect == (uint8_t)IORING_OP_CONNECT, "CONNECT");
_Static_assert(cms_opcode_send_zc == (uint8_t)IORING_OP_SEND_ZC, "SEND_ZC");
_Static_assert(cms_completion_buffer == IORING_CQE_F_BUFFER, "F_BUFFER");
_Static_assert(cms_completion_socket_nonempty == IORING_CQE_F_SOCK_NONEMPTY, "F_SOCK_NONEMPTY");
_Static_assert(cms_completion_more == IORING_CQE_F_MORE, "F_MORE");

struct cms_ring {
  struct io_uring ring;
};

// io_uring_register has this number on every architecture.
enum { call_register = 427 };

// All opcodes that this file uses.
static const uint8_t used_opcodes[] = {
    IORING_OP_SENDMSG,  IORING_OP_RECVMSG,      IORING_OP_ACCEPT,  IORING_OP_CONNECT,
    IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_TIMEOUT,
};
// In the order in which Linux introduced them: 5.6, 5.10, 5.18, 5.19, 6.0.
static const uint8_t used_registrations[] = {
    IORING_REGISTER_PROBE,       IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_RING_FDS,
    IORING_UNREGISTER_RING_FDS,  IORING_REGISTER_PBUF_RING,    IORING_UNREGISTER_PBUF_RING,
    IORING_REGISTER_SYNC_CANCEL,
};

// Restricts a ring that is not yet enabled to the operations used here. A kernel rejects the whole
// list if it does not know one number, so the newest registrations are dropped one by one.
static void restrict_ring(int ring_fd) {
  struct io_uring_restriction list[1 + sizeof used_opcodes + sizeof used_registrations] = {0};
  unsigned count = 0;
  list[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  list[count++].sqe_flags = IOSQE_BUFFER_SELECT;
  for (unsigned index = 0; index < sizeof used_opcodes; index += 1) {
    list[count].opcode = IORING_RESTRICTION_SQE_OP;
    list[count++].sqe_op = used_opcodes[index];
  }
  unsigned fewest = count + 2;
  for (unsigned index = 0; index < sizeof used_registrations; index += 1) {
    list[count].opcode = IORING_RESTRICTION_REGISTER_OP;
    list[count++].register_op = used_registrations[index];
  }
  for (; count >= fewest; count -= 1) {
    if (syscall(call_register, ring_fd, IORING_REGISTER_RESTRICTIONS, list, count) == 0) return;
    if (errno != EINVAL) return;
  }
}

int32_t cms_ring_create(uint32_t entries, uint32_t setup_flags, cms_ring **out) {
  cms_ring *ring = calloc(1, sizeof *ring);
  if (ring == NULL) return -ENOMEM;
  struct io_uring_params parameters = {.flags = setup_flags | IORING_SETUP_R_DISABLED};
  int status = io_uring_queue_init_params(entries, &ring->ring, &parameters);
  if (status < 0) {
    free(ring);
    return status;
  }
  restrict_ring(ring->ring.ring_fd);
  // liburing 2.3 does not export io_uring_enable_rings.
  if (syscall(call_register, ring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) {
    status = -errno;
    cms_ring_destroy(ring);
    return status;
  }
  // A registered ring descriptor saves a file lookup in every enter. Kernels before 5.18 refuse it,
  // and everything works without it.
  (void)io_uring_register_ring_fd(&ring->ring);
  *out = ring;
  return 0;
}

void cms_ring_destroy(cms_ring *ring) {
  io_uring_queue_exit(&ring->ring);
  free(ring);
}

int32_t cms_ring_cancel_all(cms_ring *ring) {
  // struct io_uring_sync_cancel_reg is newer than Debian 12's headers.
  struct {
    uint64_t user_data;
    int32_t fd;
    uint32_t flags;
    struct __kernel_timespec timeout;
    uint64_t reserved[4];
  } all = {.fd = -1, .flags = 1 /* ALL */ | 4 /* ANY */, .timeout = {-1, -1}};
  _Static_assert(sizeof all == 64, "io_uring_sync_cancel_reg");
  long status = syscall(call_register, ring->ring.ring_fd, IORING_REGISTER_SYNC_CANCEL, &all, 1);
  return status >= 0 || errno == ENOENT ? 0 : -errno;
}

bool cms_ring_works_in_enter_only(const cms_ring *ring) {
  return ring->ring.flags & IORING_SETUP_DEFER_TASKRUN;
}

uint32_t cms_ring_feature_bits(const cms_ring *ring) { return ring->ring.features; }

int32_t cms_ring_opcodes(cms_ring *ring, uint64_t *opcodes) {
  enum { count = 64 };
  size_t size = sizeof(struct io_uring_probe) + count * sizeof(struct io_uring_probe_op);
  struct io_uring_probe *probe = calloc(1, size);
  if (probe == NULL) return -ENOMEM;
  int status = io_uring_register_probe(&ring->ring, probe, count);
  *opcodes = 0;
  for (unsigned index = 0; index < count; index += 1) {
    if (probe->ops[index].flags & IO_URING_OP_SUPPORTED) *opcodes |= UINT64_C(1) << index;
  }
  free(probe);
  return status < 0 ? status : 0;
}

bool cms_ring_has_requests(const cms_ring *ring) { return io_uring_sq_ready(&ring->ring) > 0; }

bool cms_ring_prepare_sendmsg(cms_ring *ring, uint64_t user_data, int32_t fd,
                              const cms_msghdr *header, uint32_t flags) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_sendmsg(entry, fd, (const struct msghdr *)header, flags);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_recvmsg(cms_ring *ring, uint64_t user_data, int32_t fd, cms_msghdr *header,
                              uint32_t flags, bool poll_first) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_recvmsg(entry, fd, (struct msghdr *)header, flags);
  if (poll_first) entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_recvmsg_multishot(cms_ring *ring, uint64_t user_data, int32_t fd,
                                        cms_msghdr *header, uint32_t flags, uint16_t group) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_recvmsg_multishot(entry, fd, (struct msghdr *)header, flags);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = group;
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

#ifndef IORING_ACCEPT_DONTWAIT
#define IORING_ACCEPT_DONTWAIT (1U << 1)
#endif

bool cms_ring_prepare_accept(cms_ring *ring, uint64_t user_data, int32_t fd, bool without_waiting) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC);
  if (without_waiting) entry->ioprio |= IORING_ACCEPT_DONTWAIT;
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_connect(cms_ring *ring, uint64_t user_data, int32_t fd, const void *name,
                              uint32_t name_length) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_connect(entry, fd, (const struct sockaddr *)name, (socklen_t)name_length);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

static bool prepare_poll(cms_ring *ring, uint64_t user_data, int32_t fd, unsigned events) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_poll_add(entry, fd, events);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_poll(cms_ring *ring, uint64_t user_data, int32_t fd) {
  return prepare_poll(ring, user_data, fd, POLLIN | POLLRDHUP);
}

bool cms_ring_prepare_poll_connecting(cms_ring *ring, uint64_t user_data, int32_t fd) {
  return prepare_poll(ring, user_data, fd, POLLOUT);
}

bool cms_ring_prepare_poll_multishot(cms_ring *ring, uint64_t user_data, int32_t fd) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  // Edge-triggered, so an eventfd that is never read wakes the loop once for each write.
  io_uring_prep_poll_multishot(entry, fd, POLLIN | (1u << 31) /* EPOLLET */);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_pause(cms_ring *ring, uint64_t user_data, uint32_t exponent) {
  // The kernel reads the timespec when the entry is submitted, so the array must outlive the call.
  static struct __kernel_timespec pauses[] = {
      {0, 1000000}, {0, 2000000}, {0, 4000000}, {0, 8000000}, {0, 16000000}, {0, 32000000},
  };
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_timeout(entry, &pauses[exponent], 0, 0);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

bool cms_ring_prepare_cancel(cms_ring *ring, uint64_t user_data, uint64_t target) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_cancel64(entry, target, 0);
  io_uring_sqe_set_data64(entry, user_data);
  return true;
}

int32_t cms_ring_enter(cms_ring *ring, uint32_t wait_count, int64_t timeout_ns) {
  if (wait_count == 0) return io_uring_submit_and_get_events(&ring->ring);
  if (timeout_ns < 0) return io_uring_submit_and_wait(&ring->ring, wait_count);
  struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                      .tv_nsec = timeout_ns % 1000000000};
  struct io_uring_cqe *ignored = NULL;
  return io_uring_submit_and_wait_timeout(&ring->ring, &ignored, wait_count, &timeout, NULL);
}

uint32_t cms_ring_reap(cms_ring *ring, cms_completion *completions, uint32_t capacity) {
  uint32_t head, count = 0;
  struct io_uring_cqe *entry;
  io_uring_for_each_cqe(&ring->ring, head, entry) {
    if (count == capacity) break;
    completions[count] = (cms_completion){entry->user_data, entry->res, entry->flags};
    count += 1;
  }
  io_uring_cq_advance(&ring->ring, count);
  return count;
}

_Static_assert(sizeof(cms_received_header) == sizeof(struct io_uring_recvmsg_out), "recvmsg_out");
_Static_assert(offsetof(cms_received_header, flags) == offsetof(struct io_uring_recvmsg_out, flags),
               "recvmsg_out.flags");

struct cms_buffer_ring {
  struct io_uring_buf_ring *ring;
  size_t byte_count;
  uint32_t mask;
  uint16_t group;
};

int32_t cms_buffer_ring_create(cms_ring *ring, uint16_t group, uint32_t entries,
                               cms_buffer_ring **out) {
  cms_buffer_ring *buffers = calloc(1, sizeof *buffers);
  if (buffers == NULL) return -ENOMEM;
  buffers->byte_count = entries * sizeof(struct io_uring_buf);
  buffers->mask = io_uring_buf_ring_mask(entries);
  buffers->group = group;
  void *memory =
      mmap(NULL, buffers->byte_count, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (memory == MAP_FAILED) {
    free(buffers);
    return -ENOMEM;
  }
  buffers->ring = memory;
  io_uring_buf_ring_init(buffers->ring);
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)memory, .ring_entries = entries, .bgid = group};
  int status = io_uring_register_buf_ring(&ring->ring, &registration, 0);
  if (status < 0) {
    munmap(memory, buffers->byte_count);
    free(buffers);
    return status;
  }
  *out = buffers;
  return 0;
}

void cms_buffer_ring_destroy(cms_ring *ring, cms_buffer_ring *buffers) {
  (void)io_uring_unregister_buf_ring(&ring->ring, buffers->group);
  munmap(buffers->ring, buffers->byte_count);
  free(buffers);
}

void cms_buffer_ring_provide(cms_buffer_ring *buffers, void *start, uint32_t length,
                             uint16_t buffer_id) {
  io_uring_buf_ring_add(buffers->ring, start, length, buffer_id, (int)buffers->mask, 0);
  io_uring_buf_ring_advance(buffers->ring, 1);
}
