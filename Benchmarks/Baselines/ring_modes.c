// SPDX-License-Identifier: Apache-2.0
#include "ring_modes.h"

#include <stdlib.h>
#include <unistd.h>

void bench_open(struct bench *bench, struct meter *meter, const struct options *options,
                unsigned ends, unsigned operations) {
  *bench = (struct bench){.options = options, .meter = meter, .count = ends};
  ring_open(&bench->ring, meter, operations);
  outgoing_open(&bench->message, options);
  bench->receiver = receiver_open(&bench->ring, options, ends);
  bench->ends = allocate(ends, sizeof *bench->ends);
  for (unsigned i = 0; i < ends; i++) bench->ends[i] = (struct end){.fd = -1, .index = i};
}

void bench_close(struct bench *bench) {
  // Close the ring first, which ends the receives that are still pending. The sockets are empty by
  // now.
  ring_close(&bench->ring);
  for (unsigned i = 0; i < bench->count; i++) {
    if (bench->ends[i].fd >= 0) check(close(bench->ends[i].fd), "close");
  }
  receiver_close(bench->receiver);
  outgoing_close(&bench->message);
  free(bench->ends);
}

void bench_open_pairs(struct bench *bench) {
  for (unsigned i = 0; i < bench->count; i += 2) {
    int fds[2];
    open_pair(bench->options, fds);
    bench->ends[i].fd = fds[0];
    bench->ends[i + 1].fd = fds[1];
  }
}

int *bench_open_receivers(struct bench *bench) {
  int *senders = allocate(bench->count, sizeof *senders);
  for (unsigned i = 0; i < bench->count; i++) {
    int fds[2];
    open_pair(bench->options, fds);
    senders[i] = fds[0];
    bench->ends[i].fd = fds[1];
  }
  return senders;
}

void bench_check_sent(const struct bench *bench, const struct io_uring_cqe *cqe) {
  if ((unsigned)check_ring(cqe->res, "sendmsg") != bench->options->bytes)
    fail("short send: %d bytes", cqe->res);
}

unsigned bench_take(struct bench *bench, struct end *end, const struct io_uring_cqe *cqe) {
  unsigned messages = receiver_take(bench->receiver, end, cqe);
  bench->meter->received += messages;
  return messages;
}

void bench_keep_armed(struct bench *bench, struct end *end) {
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
    bench_check_sent(bench, cqe);
    return;
  }
  unsigned messages = bench_take(bench, end, cqe);
  if (messages > 0 && meter_running(bench->meter))
    ring_send(&bench->ring, end->fd, &bench->message, end);
  bench_keep_armed(bench, end);
}

void ring_pingpong(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  // In one turn: a receive and a send for each pair.
  bench_open(&bench, meter, options, 2 * pairs, 2 * pairs);
  bench_open_pairs(&bench);
  meter_start(meter);
  for (unsigned i = 0; i < bench.count; i++) receiver_arm(bench.receiver, &bench.ends[i]);
  for (unsigned i = 0; i < bench.count; i += 2) {
    ring_send(&bench.ring, bench.ends[i].fd, &bench.message, &bench.ends[i]);
  }
  run_until_drained(&bench, pingpong_complete);
  bench_close(&bench);
}

// MARK: Idle: the memory of a pending receive, then one message to each

static void idle_complete(void *context, struct io_uring_cqe *cqe) {
  struct bench *bench = context;
  struct end *end = completion_subject(cqe);
  if (completion_operation(cqe) == SENT) {
    bench_check_sent(bench, cqe);
    return;
  }
  bench_take(bench, end, cqe);
  bench_keep_armed(bench, end);
}

void ring_idle(struct meter *meter, const struct options *options, unsigned pairs) {
  // Counts everything: the ring, shared buffers, and the memory of each connection. Kernel memory
  // does not show here.
  size_t before = resident_bytes();
  struct bench bench;
  bench_open(&bench, meter, options, pairs, pairs);
  int *senders = bench_open_receivers(&bench);
  for (unsigned i = 0; i < pairs; i++) receiver_arm(bench.receiver, &bench.ends[i]);
  check_ring(io_uring_submit(&bench.ring.io), "io_uring_enter");
  meter->resident_bytes = (double)(resident_bytes() - before) / pairs;

  meter_begin(meter);
  // In waves, so that there are few received descriptors in one turn.
  for (unsigned next = 0; meter->received < pairs;) {
    for (; next < pairs && meter->sent - meter->received < IDLE_WAVE; next++) {
      ring_send(&bench.ring, senders[next], &bench.message, NULL);
    }
    ring_turn(&bench.ring, idle_complete, &bench);
  }
  meter_end(meter);
  for (unsigned i = 0; i < pairs; i++) check(close(senders[i]), "close");
  free(senders);
  bench_close(&bench);
}

int main(int argc, char **argv) { return run(&ring_program, argc, argv); }
