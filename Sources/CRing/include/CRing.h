// SPDX-License-Identifier: Apache-2.0
// The only target that needs liburing.
//
// One io_uring behind an opaque handle: set-up, submission entries, enter, completions. Nothing
// here decides anything: the caller says which flags, when to enter, and what a completion means.
// Results are a value, or -errno.
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
  cms_opcode_send_zc = 47, // Linux 6.0, as multishot receives are, which cannot be asked for
};

// Set-up and exit. The ring must be created, entered and destroyed by one thread. 0 or -errno. The
// ring is restricted to the requests and registrations of this file (IORING_REGISTER_RESTRICTIONS,
// 5.10): the kernel answers others with EACCES.
int32_t cms_ring_create(uint32_t entries, uint32_t setup_flags, cms_ring **ring);
void cms_ring_destroy(cms_ring *ring);
// Cancels every request without io_uring_enter (IORING_REGISTER_SYNC_CANCEL, Linux 6.0): from then
// on none reads or writes memory. 0 or -errno.
int32_t cms_ring_cancel_all(cms_ring *ring);
// Whether the kernel carries out requests in io_uring_enter only (IORING_SETUP_DEFER_TASKRUN).
bool cms_ring_works_in_enter_only(const cms_ring *ring);
uint32_t cms_ring_feature_bits(const cms_ring *ring);
// Which opcodes below 64 the kernel has, a bit for each. 0 or -errno.
int32_t cms_ring_opcodes(cms_ring *ring, uint64_t *opcodes);

// Whether submission entries wait for the next enter.
bool cms_ring_has_requests(const cms_ring *ring);

// Submission entries. Each returns false if the submission queue is full: enter, then try again.
bool cms_ring_prepare_sendmsg(cms_ring *ring, uint64_t user_data, int32_t fd,
                              const cms_msghdr *header, uint32_t flags);
// `poll_first`: waits for data before it tries to receive (IORING_RECVSEND_POLL_FIRST, 5.19).
bool cms_ring_prepare_recvmsg(cms_ring *ring, uint64_t user_data, int32_t fd, cms_msghdr *header,
                              uint32_t flags, bool poll_first);
// Multishot: a completion for each message, its bytes in a buffer of `group`. Needs Linux 6.0.
bool cms_ring_prepare_recvmsg_multishot(cms_ring *ring, uint64_t user_data, int32_t fd,
                                        cms_msghdr *header, uint32_t flags, uint16_t group);
// Without waiting, -EAGAIN says that there is none; before Linux 6.10, -EINVAL says nothing.
bool cms_ring_prepare_accept(cms_ring *ring, uint64_t user_data, int32_t fd, bool without_waiting);
bool cms_ring_prepare_connect(cms_ring *ring, uint64_t user_data, int32_t fd, const void *name,
                              uint32_t name_length);
// Completes when there is something to receive, or nothing more will come.
bool cms_ring_prepare_poll(cms_ring *ring, uint64_t user_data, int32_t fd);
bool cms_ring_prepare_poll_multishot(cms_ring *ring, uint64_t user_data, int32_t fd);
// Completes with -ETIME after 2 to the power of `exponent` milliseconds, 0 to 5.
bool cms_ring_prepare_pause(cms_ring *ring, uint64_t user_data, uint32_t exponent);
bool cms_ring_prepare_cancel(cms_ring *ring, uint64_t user_data, uint64_t target);

// One io_uring_enter: submits everything, runs deferred work, and waits for `wait_count`
// completions, at most `timeout_ns` nanoseconds if that is not negative. The number submitted, or
// -errno (-ETIME: the time ran out).
int32_t cms_ring_enter(cms_ring *ring, uint32_t wait_count, int64_t timeout_ns);
// Copies out at most `capacity` completions and frees their places in the completion queue.
uint32_t cms_ring_reap(cms_ring *ring, cms_completion *completions, uint32_t capacity);

// A ring of buffers that the kernel picks from (io_uring_register_buf_ring, Linux 5.19). `entries`
// must be a power of two, at most 32,768.
typedef struct cms_buffer_ring cms_buffer_ring;
int32_t cms_buffer_ring_create(cms_ring *ring, uint16_t group, uint32_t entries,
                               cms_buffer_ring **buffers);
void cms_buffer_ring_destroy(cms_ring *ring, cms_buffer_ring *buffers);
// Gives one buffer to the kernel.
void cms_buffer_ring_provide(cms_buffer_ring *buffers, void *start, uint32_t length,
                             uint16_t buffer_id);

#endif
