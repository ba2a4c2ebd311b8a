// SPDX-License-Identifier: Apache-2.0
// Ping-pong between two processes, each with a ring: the far ends are in a child process.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring_modes.h"

struct side {
  struct bench bench;
  unsigned closed; // ends whose peer has closed
  bool answers; // until its peers close, not as long as the measurement lasts
};

static void complete(void *context, struct io_uring_cqe *cqe) {
  struct side *side = context;
  struct bench *bench = &side->bench;
  struct end *end = completion_subject(cqe);
  if (completion_operation(cqe) == SENT) {
    bench_check_sent(bench, cqe);
    return;
  }
  unsigned messages = bench_take(bench, end, cqe);
  if (side->answers && end->closed) {
    side->closed++;
    return;
  }
  if (messages > 0 && (side->answers || meter_running(bench->meter)))
    ring_send(&bench->ring, end->fd, &bench->message, end);
  bench_keep_armed(bench, end);
}

static void side_open(struct side *side, struct meter *meter, const struct options *options,
                      unsigned pairs, const int *fds) {
  bench_open(&side->bench, meter, options, pairs, 2 * pairs);
  for (unsigned i = 0; i < pairs; i++) {
    side->bench.ends[i].fd = fds[i];
    receiver_arm(side->bench.receiver, &side->bench.ends[i]);
  }
}

static _Noreturn void answer(const struct options *options, unsigned pairs, const int *fds) {
  struct meter meter = {.options = options};
  struct side side = {.answers = true};
  side_open(&side, &meter, options, pairs, fds);
  while (side.closed < pairs) ring_turn(&side.bench.ring, complete, &side);
  bench_close(&side.bench);
  _exit(0);
}

static void ask(struct meter *meter, const struct options *options, unsigned pairs,
                const int *fds) {
  struct side side = {.answers = false};
  side_open(&side, meter, options, pairs, fds);
  meter_start(meter);
  for (unsigned i = 0; i < pairs; i++)
    ring_send(&side.bench.ring, fds[i], &side.bench.message, &side.bench.ends[i]);
  while (meter_running(meter) || meter->received < meter->sent)
    ring_turn(&side.bench.ring, complete, &side);
  bench_close(&side.bench);
}

static void close_all(const int *fds, unsigned count) {
  for (unsigned i = 0; i < count; i++) check(close(fds[i]), "close");
}

void ring_twoprocesses(struct meter *meter, const struct options *options, unsigned pairs) {
  int *near = allocate(pairs, sizeof *near), *far = allocate(pairs, sizeof *far);
  for (unsigned i = 0; i < pairs; i++) {
    int fds[2];
    open_pair(options, fds);
    near[i] = fds[0];
    far[i] = fds[1];
  }
  pid_t child = check(fork(), "fork");
  close_all(child == 0 ? near : far, pairs);
  if (child == 0) answer(options, pairs, far);
  ask(meter, options, pairs, near);
  int status;
  check(waitpid(child, &status, 0), "waitpid");
  if (status != 0) fail("the other process failed");
  // The child did the work that this process's meter counted a second time.
  meter->messages *= 2;
  meter->enters_measured *= 2;
  free(near);
  free(far);
}
