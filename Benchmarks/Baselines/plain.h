// SPDX-License-Identifier: Apache-2.0
// The code that the baselines without io_uring share: one checked sendmsg, and one checked recvmsg.
#ifndef PLAIN_H
#define PLAIN_H

#include "baseline.h"

// The work of one thread, and the receive buffers that all of its sockets use in turn.
struct plain {
  const struct options *options;
  struct meter *meter;
  struct outgoing message;
  char *bytes;
  _Alignas(8) char control[CONTROL_BYTES];
};

struct plain_end {
  int fd;
  struct inbox inbox;
  unsigned sent; // bytes of the message that a full stream has taken so far
};

void plain_open(struct plain *plain, struct meter *meter, const struct options *options);
void plain_close(struct plain *plain);

// Returns true once the message is sent completely; false if the socket is full, which a blocking
// send never reports.
bool plain_send(struct plain *plain, struct plain_end *end, int flags);

enum receipt { NOTHING, PIECE, MESSAGE, CLOSED };
// NOTHING if there is nothing to receive, which a blocking receive never reports; CLOSED if nothing
// more will come.
enum receipt plain_receive(struct plain *plain, struct plain_end *end, int flags);

#endif
