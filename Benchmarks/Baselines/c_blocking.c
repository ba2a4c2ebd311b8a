// SPDX-License-Identifier: Apache-2.0
// Plain sendmsg and recvmsg. In one thread no call ever waits, so this shows the cost of the system
// calls alone; with a thread for each end (perside mode), every message wakes a thread.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "plain.h"

struct pair {
  struct plain_end ends[2];
};

static struct pair *open_pairs(const struct options *options, unsigned count) {
  struct pair *pairs = allocate(count, sizeof *pairs);
  for (unsigned i = 0; i < count; i++) {
    int fds[2];
    open_pair(options, fds);
    pairs[i].ends[0].fd = fds[0];
    pairs[i].ends[1].fd = fds[1];
  }
  return pairs;
}

static void close_pairs(struct pair *pairs, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    check(close(pairs[i].ends[0].fd), "close");
    check(close(pairs[i].ends[1].fd), "close");
  }
  free(pairs);
}

static void send_message(struct plain *plain, struct plain_end *end) {
  while (!plain_send(plain, end, 0)) continue;
}

static void receive_message(struct plain *plain, struct plain_end *end) {
  enum receipt receipt;
  while ((receipt = plain_receive(plain, end, 0)) == PIECE) continue;
  if (receipt != MESSAGE) fail("the peer closed");
}

// MARK: One thread

static void pingpong(struct meter *meter, const struct options *options, unsigned count) {
  struct plain plain;
  plain_open(&plain, meter, options);
  struct pair *pairs = open_pairs(options, count);
  meter_start(meter);
  for (unsigned i = 0; meter_running(meter); i = (i + 1) % count) {
    struct plain_end *ends = pairs[i].ends;
    send_message(&plain, &ends[0]);
    receive_message(&plain, &ends[1]);
    send_message(&plain, &ends[1]);
    receive_message(&plain, &ends[0]);
  }
  close_pairs(pairs, count);
  plain_close(&plain);
}

// A burst must fit into the socket, including overhead: if the socket were full, the only thread
// would wait for itself.
static unsigned burst_for(const struct options *options) {
  unsigned fit = MAX_BYTES / options->bytes;
  return options->burst < fit ? options->burst : fit;
}

static void oneway(struct meter *meter, const struct options *options, unsigned count) {
  struct plain plain;
  plain_open(&plain, meter, options);
  struct pair *pairs = open_pairs(options, count);
  unsigned burst = burst_for(options);
  meter_start(meter);
  for (unsigned i = 0; meter_running(meter); i = (i + 1) % count) {
    for (unsigned n = 0; n < burst; n++) send_message(&plain, &pairs[i].ends[0]);
    for (unsigned n = 0; n < burst; n++) receive_message(&plain, &pairs[i].ends[1]);
  }
  close_pairs(pairs, count);
  plain_close(&plain);
}

static void accept_mode(struct meter *meter, const struct options *options, unsigned count) {
  (void)count;
  struct plain plain;
  struct listener listener;
  plain_open(&plain, meter, options);
  listener_open(&listener, options);
  meter_start(meter);
  while (meter_running(meter)) {
    struct plain_end client = {.fd = open_client(options)}, server = {.fd = -1};
    check(connect(client.fd, (struct sockaddr *)&listener.address, listener.address_length),
          "connect");
    send_message(&plain, &client);
    check(close(client.fd), "close");
    server.fd = check(accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC), "accept4");
    receive_message(&plain, &server);
    check(close(server.fd), "close");
    meter->enters += 2;
  }
  close(listener.fd);
  plain_close(&plain);
}

// MARK: A thread for each end

struct echo {
  const struct options *options;
  struct plain_end *end;
  struct meter meter;
};

// The far end of one pair: answers every message until its socket is shut down.
static void *echo_main(void *argument) {
  struct echo *echo = argument;
  struct plain plain;
  plain_open(&plain, &echo->meter, echo->options);
  for (;;) {
    enum receipt receipt = plain_receive(&plain, echo->end, 0);
    if (receipt == CLOSED) break;
    if (receipt == MESSAGE) send_message(&plain, echo->end);
  }
  plain_close(&plain);
  return NULL;
}

static void perside(struct meter *meter, const struct options *options, unsigned count) {
  struct plain plain;
  plain_open(&plain, meter, options);
  struct pair *pair = open_pairs(options, count);
  struct echo echo = {.options = options, .end = &pair->ends[1]};
  pthread_t thread;
  check_ring(-pthread_create(&thread, NULL, echo_main, &echo), "pthread_create");
  meter_start(meter);
  while (meter_running(meter)) {
    send_message(&plain, &pair->ends[0]);
    receive_message(&plain, &pair->ends[0]);
  }
  // Unlike closing the near end, this also ends the receive of a datagram socket.
  check(shutdown(pair->ends[1].fd, SHUT_RD), "shutdown");
  check_ring(-pthread_join(thread, NULL), "pthread_join");
  if (echo.meter.received != meter->sent) fail("the far end missed messages");
  // The far end did the work that the near end's meter counted a second time.
  meter->messages *= 2;
  meter->enters_measured *= 2;
  close_pairs(pair, count);
  plain_close(&plain);
}

int main(int argc, char **argv) {
  static const struct program program = {
      .name = "c_blocking",
      .summary = "plain blocking sendmsg and recvmsg; in perside mode, a thread for each end",
      .modes = {[PINGPONG] = pingpong,
                [TWOTHREADS] = pingpong,
                [PERSIDE] = perside,
                [ONEWAY] = oneway,
                [ACCEPT] = accept_mode},
  };
  return run(&program, argc, argv);
}
