// SPDX-License-Identifier: Apache-2.0
// The code that the io_uring baselines share: the ring, its one system call per turn, and sending.
#ifndef RING_H
#define RING_H

#include <liburing.h>

#include "baseline.h"

// The purpose of a completion, in the low bits of its user_data; the rest is a pointer or a number.
enum operation { SENT, RECEIVED, ACCEPTED, CONNECTED, CANCELLED, OPERATION_MASK = 7 };

struct ring {
  struct io_uring io;
  struct meter *meter;
};

// Opens a ring for the calling thread only. At most `operations` may be submitted in one turn.
void ring_open(struct ring *ring, struct meter *meter, unsigned operations);
void ring_close(struct ring *ring);

// Returns the next free submission entry. Submits first if there is none.
struct io_uring_sqe *ring_entry(struct ring *ring);

// Submits everything, waits for a completion, and passes all completions to `complete`, with one
// enter.
typedef void (*completion)(void *context, struct io_uring_cqe *cqe);
void ring_turn(struct ring *ring, completion complete, void *context);

static inline void entry_tag(struct io_uring_sqe *sqe, const void *subject,
                             enum operation operation) {
  io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)subject | operation);
}
static inline enum operation completion_operation(const struct io_uring_cqe *cqe) {
  return cqe->user_data & OPERATION_MASK;
}
static inline void *completion_subject(const struct io_uring_cqe *cqe) {
  return (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)OPERATION_MASK);
}

void ring_send(struct ring *ring, int fd, const struct outgoing *message, const void *subject);

#endif
