// SPDX-License-Identifier: Apache-2.0
#include "ring.h"

#include <errno.h>
#include <string.h>

enum {
  MIN_ENTRIES = 64,
  // A larger number of operations is submitted in several enters.
  MAX_ENTRIES = 4096,
};

static unsigned entries_for(unsigned operations) {
  unsigned entries = MIN_ENTRIES;
  while (entries < operations && entries < MAX_ENTRIES) entries *= 2;
  return entries;
}

void ring_open(struct ring *ring, struct meter *meter, unsigned operations) {
  unsigned entries = entries_for(operations);
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
               IORING_SETUP_CQSIZE,
      // Room for the receives that this turn's sends complete.
      .cq_entries = 2 * entries,
  };
  ring->meter = meter;
  check_ring(io_uring_queue_init_params(entries, &ring->io, &parameters), "io_uring_setup");
}

void ring_close(struct ring *ring) { io_uring_queue_exit(&ring->io); }

struct io_uring_sqe *ring_entry(struct ring *ring) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
  if (sqe != NULL) return sqe;
  ring->meter->enters++;
  check_ring(io_uring_submit(&ring->io), "io_uring_enter");
  sqe = io_uring_get_sqe(&ring->io);
  if (sqe == NULL) fail("the submission queue stays full");
  return sqe;
}

void ring_turn(struct ring *ring, completion complete, void *context) {
  ring->meter->enters++;
  int result = io_uring_submit_and_wait(&ring->io, 1);
  // Interrupted, or completions overflowed: the queued completions are handled, the rest comes in
  // the next turn.
  if (result != -EINTR && result != -EBUSY && result != -EAGAIN)
    check_ring(result, "io_uring_enter");

  struct io_uring_cqe *cqe;
  unsigned head, count = 0;
  io_uring_for_each_cqe(&ring->io, head, cqe) {
    complete(context, cqe);
    count++;
  }
  io_uring_cq_advance(&ring->io, count);
}

void ring_send(struct ring *ring, int fd, const struct outgoing *message, const void *subject) {
  struct io_uring_sqe *sqe = ring_entry(ring);
  io_uring_prep_sendmsg(sqe, fd, &message->header, message->flags);
  entry_tag(sqe, subject, SENT);
  ring->meter->sent++;
}
