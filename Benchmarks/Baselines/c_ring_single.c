// SPDX-License-Identifier: Apache-2.0
// One ring, single-shot SENDMSG and RECVMSG: each receive is submitted for one message, with its
// own control buffer.
#include <stdlib.h>

#include "ring_modes.h"

const bool ring_multishot = false;

// The memory that the kernel writes while an end's receive is pending.
struct slot {
  struct msghdr header;
  struct iovec payload;
  _Alignas(8) char control[CONTROL_BYTES];
};

struct receiver {
  struct ring *ring;
  const struct options *options;
  struct slot *slots; // one for each end
  char *bytes; // `options->bytes` for each end
};

struct receiver *receiver_open(struct ring *ring, const struct options *options, unsigned ends) {
  struct receiver *receiver = allocate(1, sizeof *receiver);
  *receiver = (struct receiver){
      .ring = ring,
      .options = options,
      .slots = allocate(ends, sizeof *receiver->slots),
      .bytes = allocate(ends, options->bytes),
  };
  return receiver;
}

void receiver_close(struct receiver *receiver) {
  free(receiver->slots);
  free(receiver->bytes);
  free(receiver);
}

void receiver_arm(struct receiver *receiver, struct end *end) {
  const struct options *options = receiver->options;
  struct slot *slot = &receiver->slots[end->index];
  // A stream may already have delivered the beginning of the message.
  slot->payload = (struct iovec){
      .iov_base = receiver->bytes + (size_t)end->index * options->bytes + end->inbox.partial,
      .iov_len = options->bytes - end->inbox.partial,
  };
  slot->header = (struct msghdr){.msg_iov = &slot->payload, .msg_iovlen = 1};
  if (options->fds > 0) {
    slot->header.msg_control = slot->control;
    slot->header.msg_controllen = CONTROL_BYTES;
  }
  struct io_uring_sqe *sqe = ring_entry(receiver->ring);
  io_uring_prep_recvmsg(sqe, end->fd, &slot->header, MSG_CMSG_CLOEXEC);
  entry_tag(sqe, end, RECEIVED);
  end->armed = true;
}

unsigned receiver_take(struct receiver *receiver, struct end *end, const struct io_uring_cqe *cqe) {
  const struct slot *slot = &receiver->slots[end->index];
  end->armed = false;
  int length = check_ring(cqe->res, "recvmsg");
  if (length == 0) {
    end->closed = true;
    return 0;
  }
  struct received received = {
      .payload = slot->payload.iov_base,
      .length = (size_t)length,
      .control = slot->header.msg_control,
      .control_length = slot->header.msg_controllen,
      .flags = slot->header.msg_flags,
  };
  return inbox_take(&end->inbox, receiver->options, &received);
}

const struct program ring_program = {
    .name = "c_ring_single",
    .summary = "io_uring through liburing, single-shot receives",
    .modes = {[PINGPONG] = ring_pingpong,
              [TWOTHREADS] = ring_pingpong,
              [ONEWAY] = ring_oneway,
              [IDLE] = ring_idle,
              [ACCEPT] = ring_accept,
              [CANCEL] = ring_cancel,
              [TWOPROCESSES] = ring_twoprocesses},
};
