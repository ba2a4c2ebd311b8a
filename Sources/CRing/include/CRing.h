// SPDX-License-Identifier: Apache-2.0
// The only target that needs liburing.
//
// One io_uring behind an opaque handle: setup, submission entries, enter, completions. Nothing here
// makes decisions: the caller chooses the flags, when to enter, and what a completion means. Each
// function returns a value or -errno.
#ifndef CRING_H
#define CRING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "Completions.h"
#include "MessageHeader.h"

typedef struct cms_ring cms_ring;

enum : uint32_t {
  cms_ring_clamp = 1u << 4, // IORING_SETUP_CLAMP, 5.6
  cms_ring_submit_all = 1u << 7, // IORING_SETUP_SUBMIT_ALL, 5.18
  cms_ring_coop_taskrun = 1u << 8, // IORING_SETUP_COOP_TASKRUN, 5.19
  cms_ring_single_issuer = 1u << 12, // IORING_SETUP_SINGLE_ISSUER, 6.0
  cms_ring_defer_taskrun = 1u << 13, // IORING_SETUP_DEFER_TASKRUN, 6.1
};

enum : uint32_t {
  cms_ring_feature_nodrop = 1u << 1, // IORING_FEAT_NODROP, 5.5
  cms_ring_feature_submit_stable = 1u << 2, // IORING_FEAT_SUBMIT_STABLE, 5.5
  cms_ring_feature_ext_arg = 1u << 8, // IORING_FEAT_EXT_ARG, 5.11
  cms_ring_feature_native_workers = 1u << 9, // IORING_FEAT_NATIVE_WORKERS, 5.12
  cms_ring_feature_rsrc_tags = 1u << 10, // IORING_FEAT_RSRC_TAGS, 5.13
};

enum : uint8_t {
  cms_opcode_poll_add = 6,
  cms_opcode_sendmsg = 9,
  cms_opcode_recvmsg = 10,
  cms_opcode_accept = 13,
  cms_opcode_async_cancel = 14,
  cms_opcode_connect = 16,
  cms_opcode_send_zc = 47, // Linux 6.0, which also brought multishot receives
};

// Setup and exit. One thread must create, enter and destroy the ring. Returns 0 or -errno. The ring
// is restricted to the requests and registrations that Ring.c uses (IORING_REGISTER_RESTRICTIONS,
// 5.10); the kernel answers all others with EACCES.
int32_t cms_ring_create(uint32_t entries, uint32_t setup_flags, cms_ring **ring);
void cms_ring_destroy(cms_ring *ring);
// Cancels every request without io_uring_enter (IORING_REGISTER_SYNC_CANCEL, Linux 6.0). After
// that, no request reads or writes memory. Returns 0 or -errno.
int32_t cms_ring_cancel_all(cms_ring *ring);
// Whether the kernel performs requests only inside io_uring_enter (IORING_SETUP_DEFER_TASKRUN).
bool cms_ring_works_in_enter_only(const cms_ring *ring);
uint32_t cms_ring_feature_bits(const cms_ring *ring);
// Sets a bit in `opcodes` for each opcode below 64 that the kernel supports. Returns 0 or -errno.
int32_t cms_ring_opcodes(cms_ring *ring, uint64_t *opcodes);

// Whether there are submission entries that the next enter will submit.
bool cms_ring_has_requests(const cms_ring *ring);

// Submission entries. Each function returns false if the submission queue is full; enter, then try
// again.
bool cms_ring_prepare_sendmsg(cms_ring *ring, uint64_t user_data, int32_t fd,
                              const cms_msghdr *header, uint32_t flags);
// `poll_first` makes the kernel wait for data before it first tries to receive
// (IORING_RECVSEND_POLL_FIRST, 5.19).
bool cms_ring_prepare_recvmsg(cms_ring *ring, uint64_t user_data, int32_t fd, cms_msghdr *header,
                              uint32_t flags, bool poll_first);
// Multishot: one completion per message, with its bytes in a buffer of `group`. Linux 6.0.
bool cms_ring_prepare_recvmsg_multishot(cms_ring *ring, uint64_t user_data, int32_t fd,
                                        cms_msghdr *header, uint32_t flags, uint16_t group);
// With `without_waiting`, completes with -EAGAIN if no connection is waiting. Before Linux 6.10 it
// completes with -EINVAL, which says nothing about connections.
bool cms_ring_prepare_accept(cms_ring *ring, uint64_t user_data, int32_t fd, bool without_waiting);
bool cms_ring_prepare_connect(cms_ring *ring, uint64_t user_data, int32_t fd, const void *name,
                              uint32_t name_length);
// Completes when there is something to receive, or when nothing more will come.
bool cms_ring_prepare_poll(cms_ring *ring, uint64_t user_data, int32_t fd);
// Completes when a connection in progress has been made or has failed, and sometimes before.
bool cms_ring_prepare_poll_connecting(cms_ring *ring, uint64_t user_data, int32_t fd);
bool cms_ring_prepare_poll_multishot(cms_ring *ring, uint64_t user_data, int32_t fd);
// Completes with -ETIME after 2 to the power of `exponent` milliseconds; `exponent` is 0 to 5.
bool cms_ring_prepare_pause(cms_ring *ring, uint64_t user_data, uint32_t exponent);
bool cms_ring_prepare_cancel(cms_ring *ring, uint64_t user_data, uint64_t target);

// One io_uring_enter: submits everything, runs deferred work, and waits for `wait_count`
// completions, at most `timeout_ns` nanoseconds unless that is negative. Returns the number of
// submitted entries or -errno (-ETIME after a timeout).
int32_t cms_ring_enter(cms_ring *ring, uint32_t wait_count, int64_t timeout_ns);
// Copies up to `capacity` completions and frees their entries in the completion queue.
uint32_t cms_ring_reap(cms_ring *ring, cms_completion *completions, uint32_t capacity);

// A ring of buffers from which the kernel picks one per message (io_uring_register_buf_ring, Linux
// 5.19). `entries` must be a power of two, at most 32,768.
typedef struct cms_buffer_ring cms_buffer_ring;
int32_t cms_buffer_ring_create(cms_ring *ring, uint16_t group, uint32_t entries,
                               cms_buffer_ring **buffers);
void cms_buffer_ring_destroy(cms_ring *ring, cms_buffer_ring *buffers);
// Gives one buffer to the kernel.
void cms_buffer_ring_provide(cms_buffer_ring *buffers, void *start, uint32_t length,
                             uint16_t buffer_id);

#endif
