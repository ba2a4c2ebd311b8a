// SPDX-License-Identifier: Apache-2.0
// One-way mode: a sender submits a burst, and the next one when the kernel has finished it.
//
// Unlinked sends that wait for room complete in any order, and each step of a linked chain takes an
// enter. So a burst does not wait: its sends run in order as they are submitted, until the socket
// is full. Then one send waits.
#include <errno.h>
#include <stdlib.h>

#include "ring_modes.h"

struct sender {
  // Aligned, because the low bits of its address hold the operation.
  _Alignas(8) int fd;
  unsigned under_way; // sends whose completion is to come
  unsigned missing; // bytes of a message that a full stream took only in part
  bool full;
  // The rest of such a message, whose descriptors went out with its beginning.
  struct iovec payload;
  struct msghdr rest;
};

struct oneway_bench {
  struct bench bench;
  struct sender *senders;
  unsigned sending; // senders that have something under way
  unsigned burst;
};

static void submit(struct oneway_bench *oneway, struct sender *sender, const struct msghdr *header,
                   int flags) {
  struct io_uring_sqe *sqe = ring_entry(&oneway->bench.ring);
  io_uring_prep_sendmsg(sqe, sender->fd, header, flags);
  entry_tag(sqe, sender, SENT);
  sender->under_way++;
}

static void send_rest(struct oneway_bench *oneway, struct sender *sender) {
  struct outgoing *message = &oneway->bench.message;
  sender->payload = (struct iovec){.iov_base = message->bytes, .iov_len = sender->missing};
  sender->rest = (struct msghdr){.msg_iov = &sender->payload, .msg_iovlen = 1};
  submit(oneway, sender, &sender->rest, message->flags);
}

static void send_burst(struct oneway_bench *oneway, struct sender *sender) {
  const struct outgoing *message = &oneway->bench.message;
  for (unsigned i = 0; i < oneway->burst; i++) {
    submit(oneway, sender, &message->header, message->flags | MSG_DONTWAIT);
  }
}

static void send_more(struct oneway_bench *oneway, struct sender *sender) {
  const struct outgoing *message = &oneway->bench.message;
  if (sender->missing > 0)
    send_rest(oneway, sender);
  else if (!meter_running(oneway->bench.meter))
    oneway->sending--;
  else if (sender->full)
    submit(oneway, sender, &message->header, message->flags);
  else
    send_burst(oneway, sender);
  sender->full = false;
}

static void sent(struct oneway_bench *oneway, struct sender *sender, int result) {
  sender->under_way--;
  if (result == -EAGAIN) {
    sender->full = true;
  } else {
    unsigned expected = sender->missing > 0 ? sender->missing : oneway->bench.options->bytes;
    sender->missing = expected - (unsigned)check_ring(result, "sendmsg");
    if (sender->missing == 0) oneway->bench.meter->sent++;
  }
  if (sender->under_way == 0) send_more(oneway, sender);
}

static void complete(void *context, struct io_uring_cqe *cqe) {
  struct oneway_bench *oneway = context;
  if (completion_operation(cqe) == SENT) {
    sent(oneway, completion_subject(cqe), cqe->res);
    return;
  }
  struct end *end = completion_subject(cqe);
  bench_take(&oneway->bench, end, cqe);
  bench_keep_armed(&oneway->bench, end);
}

void ring_oneway(struct meter *meter, const struct options *options, unsigned pairs) {
  struct oneway_bench oneway = {
      .senders = allocate(pairs, sizeof *oneway.senders),
      .sending = pairs,
      // A single-shot receive takes one message per turn, so all sends of a burst except one would
      // find the socket full.
      .burst = ring_multishot ? options->burst : 1,
  };
  struct bench *bench = &oneway.bench;
  bench_open(bench, meter, options, 2 * pairs, pairs * (1 + oneway.burst));
  bench_open_pairs(bench);
  meter_start(meter);
  for (unsigned i = 0; i < pairs; i++) {
    oneway.senders[i].fd = bench->ends[2 * i].fd;
    receiver_arm(bench->receiver, &bench->ends[2 * i + 1]);
    send_burst(&oneway, &oneway.senders[i]);
  }
  while (oneway.sending > 0 || meter->received < meter->sent)
    ring_turn(&bench->ring, complete, &oneway);
  bench_close(bench);
  free(oneway.senders);
}
