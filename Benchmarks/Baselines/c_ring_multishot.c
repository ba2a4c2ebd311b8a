// SPDX-License-Identifier: Apache-2.0
// One ring, single-shot SENDMSG, multishot RECVMSG: a receive stays armed, and takes its buffers
// from a shared ring.
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ring_modes.h"

const bool ring_multishot = true;

enum {
  GROUP = 0,
  MIN_BUFFERS = 32,
  // With fewer buffers than messages, the kernel ends a receive with ENOBUFS, and it is armed
  // again.
  MAX_BUFFERS = 1024,
};

struct receiver {
  struct ring *ring;
  const struct options *options;
  // The sizes of the name and control areas in every buffer; the kernel copies the header when a
  // receive is submitted.
  struct msghdr layout;
  struct io_uring_buf_ring *buffers;
  char *memory;
  unsigned count; // a power of two
  unsigned size; // of a buffer: no room for more than one message
  unsigned stride; // from buffer to buffer: control messages must be aligned
};

// MARK: Provided buffers

static unsigned count_for(const struct options *options, unsigned ends) {
  unsigned wanted = ends * (options->mode == ONEWAY ? options->burst : 1);
  unsigned count = MIN_BUFFERS;
  while (count < wanted && count < MAX_BUFFERS) count *= 2;
  return count;
}

static void provide(struct receiver *receiver, unsigned id) {
  char *buffer = receiver->memory + (size_t)id * receiver->stride;
  int mask = io_uring_buf_ring_mask(receiver->count);
  io_uring_buf_ring_add(receiver->buffers, buffer, receiver->size, (unsigned short)id, mask, 0);
  io_uring_buf_ring_advance(receiver->buffers, 1);
}

static size_t buffer_ring_bytes(const struct receiver *receiver) {
  return receiver->count * sizeof(struct io_uring_buf);
}

static void provide_buffers(struct receiver *receiver) {
  // The kernel requires whole pages, which malloc does not guarantee.
  receiver->buffers = mmap(NULL, buffer_ring_bytes(receiver), PROT_READ | PROT_WRITE,
                           MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (receiver->buffers == MAP_FAILED) fail("mmap of the buffer ring failed");
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)receiver->buffers,
      .ring_entries = receiver->count,
      .bgid = GROUP,
  };
  check_ring(io_uring_register_buf_ring(&receiver->ring->io, &registration, 0),
             "io_uring_register_buf_ring");
  io_uring_buf_ring_init(receiver->buffers);
  for (unsigned id = 0; id < receiver->count; id++) provide(receiver, id);
}

// MARK: Receiving

struct receiver *receiver_open(struct ring *ring, const struct options *options, unsigned ends) {
  struct receiver *receiver = allocate(1, sizeof *receiver);
  unsigned control = options->fds > 0 ? CONTROL_BYTES : 0;
  unsigned size = (unsigned)sizeof(struct io_uring_recvmsg_out) + control + options->bytes;
  *receiver = (struct receiver){
      .ring = ring,
      .options = options,
      .layout = {.msg_controllen = control},
      .count = count_for(options, ends),
      .size = size,
      .stride = (size + 63) / 64 * 64,
  };
  receiver->memory = allocate(receiver->count, receiver->stride);
  provide_buffers(receiver);
  return receiver;
}

// The ring has been closed already, which ended the registration.
void receiver_close(struct receiver *receiver) {
  munmap(receiver->buffers, buffer_ring_bytes(receiver));
  free(receiver->memory);
  free(receiver);
}

void receiver_arm(struct receiver *receiver, struct end *end) {
  struct io_uring_sqe *sqe = ring_entry(receiver->ring);
  io_uring_prep_recvmsg_multishot(sqe, end->fd, &receiver->layout, MSG_CMSG_CLOEXEC);
  io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
  sqe->buf_group = GROUP;
  entry_tag(sqe, end, RECEIVED);
  end->armed = true;
}

static unsigned take_buffer(struct receiver *receiver, struct end *end, char *buffer, int length) {
  struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(buffer, length, &receiver->layout);
  if (out == NULL) fail("a receive is shorter than its header");
  struct received received = {
      .payload = io_uring_recvmsg_payload(out, &receiver->layout),
      .length = io_uring_recvmsg_payload_length(out, length, &receiver->layout),
      .control = buffer + sizeof *out,
      .control_length = out->controllen,
      .flags = (int)out->flags,
  };
  if (received.length == 0) {
    end->closed = true;
    return 0;
  }
  return inbox_take(&end->inbox, receiver->options, &received);
}

unsigned receiver_take(struct receiver *receiver, struct end *end, const struct io_uring_cqe *cqe) {
  end->armed = cqe->flags & IORING_CQE_F_MORE;
  if (cqe->res == -ENOBUFS) return 0;
  int length = check_ring(cqe->res, "recvmsg");
  if (!(cqe->flags & IORING_CQE_F_BUFFER)) fail("a receive without a buffer");
  unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
  unsigned messages =
      take_buffer(receiver, end, receiver->memory + (size_t)id * receiver->stride, length);
  provide(receiver, id);
  return messages;
}

const struct program ring_program = {
    .name = "c_ring_multishot",
    .summary = "io_uring through liburing, multishot receives with a provided-buffer ring",
    .modes = {[PINGPONG] = ring_pingpong,
              [TWOTHREADS] = ring_pingpong,
              [ONEWAY] = ring_oneway,
              [IDLE] = ring_idle,
              [ACCEPT] = ring_accept,
              [CANCEL] = ring_cancel,
              [TWOPROCESSES] = ring_twoprocesses},
};
