// SPDX-License-Identifier: Apache-2.0
// Intercepts liburing for callgrind, which runs one thread at a time and does not know that
// io_uring_enter waits: a loop that waits there would stop all other threads permanently.
#include <liburing.h>
#include <unistd.h>

int io_uring_submit_and_wait(struct io_uring *ring, unsigned count) {
  int submitted = io_uring_submit_and_get_events(ring);
  while (io_uring_cq_ready(ring) < count) {
    usleep(200);
    io_uring_get_events(ring);
  }
  return submitted;
}
