// SPDX-License-Identifier: Apache-2.0
// Cancel mode: submits receives that find nothing, cancels them, and waits until they have ended.
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ring_modes.h"

struct cancel_bench {
  struct bench bench;
  unsigned pending; // completions to come, of receives and of cancellations
};

static void cancel_complete(void *context, struct io_uring_cqe *cqe) {
  struct cancel_bench *cancel = context;
  cancel->pending--;
  if (completion_operation(cqe) == CANCELLED) {
    check_ring(cqe->res, "cancellation");
    return;
  }
  struct end *end = completion_subject(cqe);
  if (cqe->res != -ECANCELED) fail("a cancelled receive ended with %d", cqe->res);
  end->armed = false;
  cancel->bench.meter->received++;
}

static void cancel_receive(struct bench *bench, const struct end *end) {
  struct io_uring_sqe *sqe = ring_entry(&bench->ring);
  io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)end | RECEIVED, 0);
  entry_tag(sqe, NULL, CANCELLED);
}

void ring_cancel(struct meter *meter, const struct options *options, unsigned pairs) {
  struct cancel_bench cancel = {.pending = 0};
  struct bench *bench = &cancel.bench;
  bench_open(bench, meter, options, pairs, pairs);
  int *others = bench_open_receivers(bench);
  meter_start(meter);
  while (meter_running(meter)) {
    for (unsigned i = 0; i < pairs; i++) receiver_arm(bench->receiver, &bench->ends[i]);
    // The receives are pending in the kernel when they are cancelled.
    meter->enters++;
    check_ring(io_uring_submit(&bench->ring.io), "io_uring_enter");
    for (unsigned i = 0; i < pairs; i++) cancel_receive(bench, &bench->ends[i]);
    cancel.pending = 2 * pairs;
    while (cancel.pending > 0) ring_turn(&bench->ring, cancel_complete, &cancel);
  }
  for (unsigned i = 0; i < pairs; i++) check(close(others[i]), "close");
  free(others);
  bench_close(bench);
}
