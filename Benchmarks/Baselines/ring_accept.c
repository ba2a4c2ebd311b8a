// SPDX-License-Identifier: Apache-2.0
// Accept mode: connect, accept, one message, close both ends. Everything except the closes goes
// through the ring.
#include <stdlib.h>
#include <unistd.h>

#include "ring_modes.h"

struct accept_bench {
  struct bench bench;
  struct listener listener;
  struct end **free_ends;
  unsigned free_count;
  unsigned clients; // connecting or sending
};

static void accept_next(struct accept_bench *accept) {
  struct io_uring_sqe *sqe = ring_entry(&accept->bench.ring);
  if (ring_multishot)
    io_uring_prep_multishot_accept(sqe, accept->listener.fd, NULL, NULL, SOCK_CLOEXEC);
  else
    io_uring_prep_accept(sqe, accept->listener.fd, NULL, NULL, SOCK_CLOEXEC);
  entry_tag(sqe, NULL, ACCEPTED);
}

static void connect_and_send(struct accept_bench *accept) {
  int fd = open_client(accept->bench.options);
  accept->clients++;
  struct io_uring_sqe *sqe = ring_entry(&accept->bench.ring);
  io_uring_prep_connect(sqe, fd, (struct sockaddr *)&accept->listener.address,
                        accept->listener.address_length);
  entry_tag(sqe, NULL, CONNECTED);
  io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
  // The client has no state except its descriptor, which is shifted to leave the low bits to the
  // operation.
  const void *subject = (void *)((uintptr_t)fd << 3);
  ring_send(&accept->bench.ring, fd, &accept->bench.message, subject);
}

static void accepted(struct accept_bench *accept, const struct io_uring_cqe *cqe) {
  int fd = check_ring(cqe->res, "accept");
  if (!(cqe->flags & IORING_CQE_F_MORE)) accept_next(accept);
  if (accept->free_count == 0) fail("more connections than were opened");
  struct end *end = accept->free_ends[--accept->free_count];
  *end = (struct end){.fd = fd, .index = end->index};
  receiver_arm(accept->bench.receiver, end);
}

static void connection_received(struct accept_bench *accept, struct end *end,
                                const struct io_uring_cqe *cqe) {
  struct bench *bench = &accept->bench;
  unsigned messages = bench_take(bench, end, cqe);
  // A multishot receive holds the socket until it has seen the peer close.
  if (end->armed) return;
  if (messages == 0 && !end->closed) {
    receiver_arm(bench->receiver, end);
    return;
  }
  check(close(end->fd), "close");
  end->fd = -1;
  accept->free_ends[accept->free_count++] = end;
  if (meter_running(bench->meter)) connect_and_send(accept);
}

static void accept_complete(void *context, struct io_uring_cqe *cqe) {
  struct accept_bench *accept = context;
  switch (completion_operation(cqe)) {
  case ACCEPTED: accepted(accept, cqe); break;
  case CONNECTED: check_ring(cqe->res, "connect"); break;
  case RECEIVED: connection_received(accept, completion_subject(cqe), cqe); break;
  default:
    bench_check_sent(&accept->bench, cqe);
    check(close((int)(cqe->user_data >> 3)), "close");
    accept->clients--;
  }
}

static bool all_closed(const struct accept_bench *accept) {
  const struct bench *bench = &accept->bench;
  bool all_arrived = bench->meter->received == bench->meter->sent;
  return all_arrived && accept->clients == 0 && accept->free_count == bench->count;
}

void ring_accept(struct meter *meter, const struct options *options, unsigned pairs) {
  struct accept_bench accept;
  // In one turn: connect, send and receive for each connection, and one accept.
  bench_open(&accept.bench, meter, options, pairs, 3 * pairs + 1);
  listener_open(&accept.listener, options);
  accept.free_ends = allocate(pairs, sizeof *accept.free_ends);
  for (unsigned i = 0; i < pairs; i++) accept.free_ends[i] = &accept.bench.ends[i];
  accept.free_count = pairs;
  meter_start(meter);
  accept_next(&accept);
  for (unsigned i = 0; i < pairs; i++) connect_and_send(&accept);
  while (meter_running(meter)) ring_turn(&accept.bench.ring, accept_complete, &accept);
  while (!all_closed(&accept)) ring_turn(&accept.bench.ring, accept_complete, &accept);
  bench_close(&accept.bench);
  close(accept.listener.fd);
  free(accept.free_ends);
}
