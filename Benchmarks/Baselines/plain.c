// SPDX-License-Identifier: Apache-2.0
#include "plain.h"

#include <errno.h>
#include <stdlib.h>

void plain_open(struct plain *plain, struct meter *meter, const struct options *options) {
  plain->options = options;
  plain->meter = meter;
  plain->bytes = allocate(1, options->bytes);
  outgoing_open(&plain->message, options);
}

void plain_close(struct plain *plain) {
  outgoing_close(&plain->message);
  free(plain->bytes);
}

static bool would_block(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

// The rest of a message whose descriptors went out with the first piece.
static struct msghdr rest_of_message(const struct plain *plain, const struct plain_end *end,
                                     struct iovec *rest) {
  *rest = (struct iovec){.iov_base = plain->message.bytes + end->sent,
                         .iov_len = plain->options->bytes - end->sent};
  return (struct msghdr){.msg_iov = rest, .msg_iovlen = 1};
}

bool plain_send(struct plain *plain, struct plain_end *end, int flags) {
  struct iovec rest;
  struct msghdr remainder = rest_of_message(plain, end, &rest);
  const struct msghdr *header = end->sent == 0 ? &plain->message.header : &remainder;
  plain->meter->enters++;
  ssize_t result = sendmsg(end->fd, header, MSG_NOSIGNAL | flags);
  if (would_block(result)) return false;
  end->sent += (unsigned)check((int)result, "sendmsg");
  if (end->sent < plain->options->bytes) return false;
  end->sent = 0;
  plain->meter->sent++;
  return true;
}

enum receipt plain_receive(struct plain *plain, struct plain_end *end, int flags) {
  struct iovec payload = {.iov_base = plain->bytes,
                          .iov_len = plain->options->bytes - end->inbox.partial};
  struct msghdr header = {.msg_iov = &payload, .msg_iovlen = 1};
  if (plain->options->fds > 0) {
    header.msg_control = plain->control;
    header.msg_controllen = CONTROL_BYTES;
  }
  plain->meter->enters++;
  ssize_t result = recvmsg(end->fd, &header, MSG_CMSG_CLOEXEC | flags);
  if (would_block(result)) return NOTHING;
  if (check((int)result, "recvmsg") == 0) return CLOSED;
  struct received received = {
      .payload = plain->bytes,
      .length = (size_t)result,
      .control = header.msg_control,
      .control_length = header.msg_controllen,
      .flags = header.msg_flags,
  };
  unsigned messages = inbox_take(&end->inbox, plain->options, &received);
  plain->meter->received += messages;
  return messages > 0 ? MESSAGE : PIECE;
}
