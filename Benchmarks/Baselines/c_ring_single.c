// One ring, single-shot SENDMSG and RECVMSG: each receive is submitted for one message, with its own control buffer.
#include <stdlib.h>
#include <unistd.h>

#include "ring.h"

// One end of a pair, with everything that the kernel writes into while its receive is pending.
struct end {
  int fd;
  struct inbox inbox;
  struct msghdr header;
  struct iovec payload;
  char *bytes;
  _Alignas(8) char control[CONTROL_BYTES];
};

struct bench {
  const struct options *options;
  struct meter *meter;
  struct ring ring;
  struct outgoing message;
  // The ends of pair i are 2i and 2i + 1.
  struct end *ends;
  char *bytes;
  unsigned count;
};

// MARK: Receiving

static void receive(struct bench *bench, struct end *end) {
  end->payload = (struct iovec){
      .iov_base = end->bytes + end->inbox.partial,
      .iov_len = bench->options->bytes - end->inbox.partial,
  };
  bool wants_control = bench->options->fds > 0;
  end->header = (struct msghdr){
      .msg_iov = &end->payload,
      .msg_iovlen = 1,
      .msg_control = wants_control ? end->control : NULL,
      .msg_controllen = wants_control ? CONTROL_BYTES : 0,
  };
  struct io_uring_sqe *sqe = ring_entry(&bench->ring);
  io_uring_prep_recvmsg(sqe, end->fd, &end->header, MSG_CMSG_CLOEXEC);
  entry_tag(sqe, end, RECEIVED);
}

// True if the receive completed a message, rather than a piece of it.
static bool take(struct bench *bench, struct end *end, int result) {
  struct received received = {
      .payload = end->payload.iov_base,
      .length = (size_t)check_ring(result, "recvmsg"),
      .control = end->header.msg_control,
      .control_length = end->header.msg_controllen,
      .flags = end->header.msg_flags,
  };
  unsigned messages = inbox_take(&end->inbox, bench->options, &received);
  bench->meter->received += messages;
  return messages > 0;
}

// A short send would lose bytes silently; a linked one would then be out of step.
static void check_sent(struct bench *bench, const struct io_uring_cqe *cqe) {
  if ((unsigned)check_ring(cqe->res, "sendmsg") != bench->options->bytes) fail("short send: %d bytes", cqe->res);
}

// MARK: Pairs

static void open_ends(struct bench *bench) {
  bench->ends = allocate(bench->count, sizeof *bench->ends);
  bench->bytes = allocate(bench->count, bench->options->bytes);
  for (unsigned i = 0; i < bench->count; i += 2) {
    int fds[2];
    open_pair(bench->options, fds);
    bench->ends[i].fd = fds[0];
    bench->ends[i + 1].fd = fds[1];
  }
  for (unsigned i = 0; i < bench->count; i++) {
    bench->ends[i].bytes = bench->bytes + (size_t)i * bench->options->bytes;
  }
}

static void open_bench(struct bench *bench, struct meter *meter, const struct options *options, unsigned pairs) {
  *bench = (struct bench){.options = options, .meter = meter, .count = 2 * pairs};
  // In one turn: for each pair a receive, and a send or a burst of them. No larger, to stay in the cache.
  ring_open(&bench->ring, meter, pairs * (1 + (options->mode == ONEWAY ? options->burst : 1)));
  outgoing_open(&bench->message, options);
}

static void close_bench(struct bench *bench) {
  // Exiting the ring first ends the pending receives; nothing is in the sockets any more.
  ring_close(&bench->ring);
  for (unsigned i = 0; bench->ends != NULL && i < bench->count; i++) close(bench->ends[i].fd);
  outgoing_close(&bench->message);
  free(bench->ends);
  free(bench->bytes);
}

static void drain(struct bench *bench, completion complete) {
  while (bench->meter->received < bench->meter->sent) ring_turn(&bench->ring, complete, bench);
}

// MARK: Ping-pong

static void pingpong_complete(void *context, struct io_uring_cqe *cqe) {
  struct bench *bench = context;
  struct end *end = completion_subject(cqe);
  if (completion_operation(cqe) == SENT) {
    check_sent(bench, cqe);
    return;
  }
  bool whole = take(bench, end, cqe->res);
  if (whole && meter_running(bench->meter)) ring_send(&bench->ring, end->fd, &bench->message, 1, end);
  receive(bench, end);
}

static void pingpong(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  open_bench(&bench, meter, options, pairs);
  open_ends(&bench);
  meter_start(meter);
  for (unsigned i = 0; i < bench.count; i++) receive(&bench, &bench.ends[i]);
  for (unsigned i = 0; i < bench.count; i += 2) {
    ring_send(&bench.ring, bench.ends[i].fd, &bench.message, 1, &bench.ends[i]);
  }
  while (meter_running(meter)) ring_turn(&bench.ring, pingpong_complete, &bench);
  drain(&bench, pingpong_complete);
  close_bench(&bench);
}

int main(int argc, char **argv) {
  static const struct program program = {
      .name = "c_ring_single",
      .summary = "io_uring through liburing, single-shot receives",
      .modes = {[PINGPONG] = pingpong, [TWOTHREADS] = pingpong},
  };
  return run(&program, argc, argv);
}
