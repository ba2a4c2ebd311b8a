#include "ring_modes.h"

#include <stdlib.h>
#include <unistd.h>

struct bench {
  const struct options *options;
  struct meter *meter;
  struct ring ring;
  struct receiver *receiver;
  struct outgoing message;
  struct end *ends;
  unsigned count;
};

static void bench_open(struct bench *bench, struct meter *meter, const struct options *options, unsigned ends,
                       unsigned operations) {
  *bench = (struct bench){.options = options, .meter = meter, .count = ends};
  ring_open(&bench->ring, meter, operations);
  outgoing_open(&bench->message, options);
  bench->receiver = receiver_open(&bench->ring, options, ends);
  bench->ends = allocate(ends, sizeof *bench->ends);
  for (unsigned i = 0; i < ends; i++) bench->ends[i] = (struct end){.fd = -1, .index = i};
}

static void bench_close(struct bench *bench) {
  // The ring first: that ends the receives which are still pending. The sockets are empty by now.
  ring_close(&bench->ring);
  for (unsigned i = 0; i < bench->count; i++) {
    if (bench->ends[i].fd >= 0) check(close(bench->ends[i].fd), "close");
  }
  receiver_close(bench->receiver);
  outgoing_close(&bench->message);
  free(bench->ends);
}

// The ends of pair i are 2i and 2i + 1.
static void open_pairs(struct bench *bench) {
  for (unsigned i = 0; i < bench->count; i += 2) {
    int fds[2];
    open_pair(bench->options, fds);
    bench->ends[i].fd = fds[0];
    bench->ends[i + 1].fd = fds[1];
  }
}

// Linked sends rely on it, and a peer would wait for the missing bytes forever.
static void check_sent(const struct bench *bench, const struct io_uring_cqe *cqe) {
  if ((unsigned)check_ring(cqe->res, "sendmsg") != bench->options->bytes) fail("short send: %d bytes", cqe->res);
}

static unsigned take(struct bench *bench, struct end *end, const struct io_uring_cqe *cqe) {
  unsigned messages = receiver_take(bench->receiver, end, cqe);
  bench->meter->received += messages;
  return messages;
}

static void keep_armed(struct bench *bench, struct end *end) {
  if (end->closed) fail("the peer closed");
  if (!end->armed) receiver_arm(bench->receiver, end);
}

static void run_until_drained(struct bench *bench, completion complete) {
  while (meter_running(bench->meter)) ring_turn(&bench->ring, complete, bench);
  while (bench->meter->received < bench->meter->sent) ring_turn(&bench->ring, complete, bench);
}

// MARK: Ping-pong: every message is answered by the end that received it

static void pingpong_complete(void *context, struct io_uring_cqe *cqe) {
  struct bench *bench = context;
  struct end *end = completion_subject(cqe);
  if (completion_operation(cqe) == SENT) {
    check_sent(bench, cqe);
    return;
  }
  unsigned messages = take(bench, end, cqe);
  if (messages > 0 && meter_running(bench->meter)) ring_send(&bench->ring, end->fd, &bench->message, 1, end);
  keep_armed(bench, end);
}

void ring_pingpong(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  // In one turn, a receive and a send for each pair. No more room than that: the ring should stay in the cache.
  bench_open(&bench, meter, options, 2 * pairs, 2 * pairs);
  open_pairs(&bench);
  meter_start(meter);
  for (unsigned i = 0; i < bench.count; i++) receiver_arm(bench.receiver, &bench.ends[i]);
  for (unsigned i = 0; i < bench.count; i += 2) {
    ring_send(&bench.ring, bench.ends[i].fd, &bench.message, 1, &bench.ends[i]);
  }
  run_until_drained(&bench, pingpong_complete);
  bench_close(&bench);
}

// MARK: One way: the sender hands over the next burst when the kernel has taken the last one

static void oneway_complete(void *context, struct io_uring_cqe *cqe) {
  struct bench *bench = context;
  struct end *end = completion_subject(cqe);
  if (completion_operation(cqe) == RECEIVED) {
    take(bench, end, cqe);
    keep_armed(bench, end);
    return;
  }
  check_sent(bench, cqe);
  bool burst_is_over = end != NULL;
  if (burst_is_over && meter_running(bench->meter)) {
    ring_send(&bench->ring, end->fd, &bench->message, bench->options->burst, end);
  }
}

void ring_oneway(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  bench_open(&bench, meter, options, 2 * pairs, pairs * (1 + options->burst));
  open_pairs(&bench);
  meter_start(meter);
  for (unsigned i = 0; i < bench.count; i += 2) {
    receiver_arm(bench.receiver, &bench.ends[i + 1]);
    ring_send(&bench.ring, bench.ends[i].fd, &bench.message, options->burst, &bench.ends[i]);
  }
  run_until_drained(&bench, oneway_complete);
  bench_close(&bench);
}

// MARK: Idle: what a pending receive costs in memory, then one message to each

static int *open_idle_pairs(struct bench *bench) {
  int *senders = allocate(bench->count, sizeof *senders);
  for (unsigned i = 0; i < bench->count; i++) {
    int fds[2];
    open_pair(bench->options, fds);
    senders[i] = fds[0];
    bench->ends[i].fd = fds[1];
  }
  return senders;
}

void ring_idle(struct meter *meter, const struct options *options, unsigned pairs) {
  // Everything counts: the ring, shared buffers, and each connection's own. What the kernel keeps does not show here.
  size_t before = resident_bytes();
  struct bench bench;
  bench_open(&bench, meter, options, pairs, pairs);
  int *senders = open_idle_pairs(&bench);
  for (unsigned i = 0; i < pairs; i++) receiver_arm(bench.receiver, &bench.ends[i]);
  check_ring(io_uring_submit(&bench.ring.io), "io_uring_enter");
  meter->resident_bytes = (double)(resident_bytes() - before) / pairs;

  meter_begin(meter);
  // In waves, so that the received descriptors of one turn stay few.
  for (unsigned next = 0; meter->received < pairs;) {
    for (; next < pairs && meter->sent - meter->received < IDLE_WAVE; next++) {
      ring_send(&bench.ring, senders[next], &bench.message, 1, NULL);
    }
    ring_turn(&bench.ring, oneway_complete, &bench);
  }
  meter_end(meter);
  for (unsigned i = 0; i < pairs; i++) check(close(senders[i]), "close");
  free(senders);
  bench_close(&bench);
}

// MARK: Accept: connect, accept, one message, close both ends

struct accept_bench {
  struct bench bench;
  struct listener listener;
  struct end **free_ends;
  unsigned free_count;
  unsigned clients;  // connecting or sending
};

static void accept_next(struct accept_bench *accept) {
  struct io_uring_sqe *sqe = ring_entry(&accept->bench.ring);
  if (ring_multishot) io_uring_prep_multishot_accept(sqe, accept->listener.fd, NULL, NULL, SOCK_CLOEXEC);
  else io_uring_prep_accept(sqe, accept->listener.fd, NULL, NULL, SOCK_CLOEXEC);
  entry_tag(sqe, NULL, ACCEPTED);
}

static void connect_and_send(struct accept_bench *accept) {
  int fd = open_client(accept->bench.options);
  accept->clients++;
  struct io_uring_sqe *sqe = ring_entry(&accept->bench.ring);
  io_uring_prep_connect(sqe, fd, (struct sockaddr *)&accept->listener.address, accept->listener.address_length);
  entry_tag(sqe, NULL, CONNECTED);
  io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
  // The client has no state but its descriptor: shifted, it leaves the low bits to the operation.
  const void *subject = (void *)((uintptr_t)fd << 3);
  ring_send(&accept->bench.ring, fd, &accept->bench.message, 1, subject);
}

static void accepted(struct accept_bench *accept, const struct io_uring_cqe *cqe) {
  int fd = check_ring(cqe->res, "accept");
  if (!(cqe->flags & IORING_CQE_F_MORE)) accept_next(accept);
  if (accept->free_count == 0) fail("more connections than were opened");
  struct end *end = accept->free_ends[--accept->free_count];
  *end = (struct end){.fd = fd, .index = end->index};
  receiver_arm(accept->bench.receiver, end);
}

static void connection_received(struct accept_bench *accept, struct end *end, const struct io_uring_cqe *cqe) {
  struct bench *bench = &accept->bench;
  unsigned messages = take(bench, end, cqe);
  // A multishot receive holds on to the socket until it has seen the peer close.
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
      check_sent(&accept->bench, cqe);
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
  // In one turn, for each connection: connect, send and receive; and one accept.
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

int main(int argc, char **argv) {
  return run(&ring_program, argc, argv);
}
