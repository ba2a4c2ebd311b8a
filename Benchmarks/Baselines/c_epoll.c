// SPDX-License-Identifier: Apache-2.0
// Level-triggered epoll with non-blocking sendmsg and recvmsg (MSG_DONTWAIT): the readiness model.
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "plain.h"

enum { EVENTS = 256 };

struct bench {
  struct plain plain;
  int epoll;
  struct plain_end *ends;
  unsigned count;
  struct epoll_event events[EVENTS];
};

static enum receipt receive(struct bench *bench, struct plain_end *end) {
  enum receipt receipt = plain_receive(&bench->plain, end, MSG_DONTWAIT);
  if (receipt == CLOSED) fail("the peer closed");
  return receipt;
}

typedef void (*handler)(struct bench *bench, struct plain_end *end, uint32_t events);

static void watch(struct bench *bench, int operation, struct plain_end *end, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = end};
  check(epoll_ctl(bench->epoll, operation, end->fd, &event), "epoll_ctl");
}

static void bench_open(struct bench *bench, struct meter *meter, const struct options *options,
                       unsigned ends) {
  *bench = (struct bench){.count = ends};
  plain_open(&bench->plain, meter, options);
  bench->epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  bench->ends = allocate(ends, sizeof *bench->ends);
  for (unsigned i = 0; i < ends; i++) bench->ends[i].fd = -1;
}

static void bench_close(struct bench *bench) {
  for (unsigned i = 0; i < bench->count; i++) {
    if (bench->ends[i].fd >= 0) check(close(bench->ends[i].fd), "close");
  }
  close(bench->epoll);
  plain_close(&bench->plain);
  free(bench->ends);
}

// The ends of pair i are 2i and 2i + 1.
static void open_pairs(struct bench *bench) {
  for (unsigned i = 0; i < bench->count; i += 2) {
    int fds[2];
    open_pair(bench->plain.options, fds);
    bench->ends[i].fd = fds[0];
    bench->ends[i + 1].fd = fds[1];
  }
}

static void turn(struct bench *bench, handler handle) {
  bench->plain.meter->enters++;
  int count = epoll_wait(bench->epoll, bench->events, EVENTS, -1);
  if (count < 0 && errno == EINTR) return;
  check(count, "epoll_wait");
  for (int i = 0; i < count; i++) handle(bench, bench->events[i].data.ptr, bench->events[i].events);
}

static void run_until_drained(struct bench *bench, handler handle) {
  struct meter *meter = bench->plain.meter;
  while (meter_running(meter)) turn(bench, handle);
  while (meter->received < meter->sent) turn(bench, handle);
}

// MARK: Ping-pong: every message is answered by the end that received it

// Writability only matters while a message is partly sent.
static void send_or_wait(struct bench *bench, struct plain_end *end, bool was_waiting) {
  bool done = plain_send(&bench->plain, end, MSG_DONTWAIT);
  if (done && was_waiting) watch(bench, EPOLL_CTL_MOD, end, EPOLLIN);
  if (!done && !was_waiting) watch(bench, EPOLL_CTL_MOD, end, EPOLLIN | EPOLLOUT);
}

static void pingpong_handle(struct bench *bench, struct plain_end *end, uint32_t events) {
  if (events & EPOLLOUT) send_or_wait(bench, end, true);
  if (!(events & EPOLLIN)) return;
  // One receive per event: there is one message, and if there were more, the level-triggered event
  // would be repeated.
  if (receive(bench, end) != MESSAGE) return;
  if (meter_running(bench->plain.meter)) send_or_wait(bench, end, false);
}

static void pingpong(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  bench_open(&bench, meter, options, 2 * pairs);
  open_pairs(&bench);
  for (unsigned i = 0; i < bench.count; i++) watch(&bench, EPOLL_CTL_ADD, &bench.ends[i], EPOLLIN);
  meter_start(meter);
  for (unsigned i = 0; i < bench.count; i += 2) send_or_wait(&bench, &bench.ends[i], false);
  run_until_drained(&bench, pingpong_handle);
  bench_close(&bench);
}

// MARK: One way: up to a burst per event, in both directions

static void oneway_handle(struct bench *bench, struct plain_end *end, uint32_t events) {
  struct plain *plain = &bench->plain;
  unsigned budget = plain->options->burst;
  if (events & EPOLLIN) {
    while (budget-- > 0 && receive(bench, end) != NOTHING) continue;
    return;
  }
  // A message that a stream has begun to take is completed even if the time is over.
  while (budget-- > 0 && (end->sent > 0 || meter_running(plain->meter)) &&
         plain_send(plain, end, MSG_DONTWAIT))
    continue;
  if (!meter_running(plain->meter) && end->sent == 0) watch(bench, EPOLL_CTL_MOD, end, 0);
}

static bool half_sent(const struct bench *bench) {
  for (unsigned i = 0; i < bench->count; i += 2) {
    if (bench->ends[i].sent > 0) return true;
  }
  return false;
}

static void oneway(struct meter *meter, const struct options *options, unsigned pairs) {
  struct bench bench;
  bench_open(&bench, meter, options, 2 * pairs);
  open_pairs(&bench);
  for (unsigned i = 0; i < bench.count; i++)
    watch(&bench, EPOLL_CTL_ADD, &bench.ends[i], i % 2 == 0 ? EPOLLOUT : EPOLLIN);
  meter_start(meter);
  run_until_drained(&bench, oneway_handle);
  while (half_sent(&bench) || meter->received < meter->sent) turn(&bench, oneway_handle);
  bench_close(&bench);
}

// MARK: Idle: the memory of a watched connection, then one message to each

static void idle_handle(struct bench *bench, struct plain_end *end, uint32_t events) {
  (void)events;
  receive(bench, end);
}

static void idle(struct meter *meter, const struct options *options, unsigned pairs) {
  size_t before = resident_bytes();
  struct bench bench;
  bench_open(&bench, meter, options, 2 * pairs);
  open_pairs(&bench);
  for (unsigned i = 0; i < pairs; i++)
    watch(&bench, EPOLL_CTL_ADD, &bench.ends[2 * i + 1], EPOLLIN);
  meter->resident_bytes = (double)(resident_bytes() - before) / pairs;

  meter_begin(meter);
  for (unsigned next = 0; meter->received < pairs;) {
    for (; next < pairs && meter->sent - meter->received < IDLE_WAVE; next++) {
      if (!plain_send(&bench.plain, &bench.ends[2 * next], MSG_DONTWAIT))
        fail("an empty socket does not take a message");
    }
    turn(&bench, idle_handle);
  }
  meter_end(meter);
  bench_close(&bench);
}

// MARK: Accept: connect, accept, one message, close both ends

struct accept_bench {
  struct bench bench; // first, so that a handler finds the rest
  struct listener listener;
  struct plain_end listening;
  struct plain_end **free_ends;
  unsigned free_count;
  unsigned open; // connections that the server has not closed yet
};

static void connect_and_send(struct accept_bench *accept) {
  struct plain *plain = &accept->bench.plain;
  struct plain_end client = {.fd = open_client(plain->options)};
  plain->meter->enters++;
  check(connect(client.fd, (struct sockaddr *)&accept->listener.address,
                accept->listener.address_length),
        "connect");
  if (!plain_send(plain, &client, MSG_DONTWAIT)) fail("an empty socket does not take a message");
  check(close(client.fd), "close");
  accept->open++;
}

static void accept_one(struct accept_bench *accept) {
  struct plain_end *end = accept->free_ends[--accept->free_count];
  accept->bench.plain.meter->enters++;
  *end = (struct plain_end){
      .fd = check(accept4(accept->listener.fd, NULL, NULL, SOCK_CLOEXEC), "accept4")};
  watch(&accept->bench, EPOLL_CTL_ADD, end, EPOLLIN);
}

static void accept_handle(struct bench *bench, struct plain_end *end, uint32_t events) {
  (void)events;
  struct accept_bench *accept = (struct accept_bench *)bench;
  if (end == &accept->listening) {
    accept_one(accept);
    return;
  }
  if (receive(bench, end) != MESSAGE) return;
  check(close(end->fd), "close"); // which ends the watch, too
  end->fd = -1;
  accept->free_ends[accept->free_count++] = end;
  accept->open--;
  if (meter_running(bench->plain.meter)) connect_and_send(accept);
}

static void accept_mode(struct meter *meter, const struct options *options, unsigned pairs) {
  struct accept_bench accept = {.open = 0};
  bench_open(&accept.bench, meter, options, pairs);
  listener_open(&accept.listener, options);
  accept.listening.fd = accept.listener.fd;
  watch(&accept.bench, EPOLL_CTL_ADD, &accept.listening, EPOLLIN);
  accept.free_ends = allocate(pairs, sizeof *accept.free_ends);
  for (unsigned i = 0; i < pairs; i++) accept.free_ends[i] = &accept.bench.ends[i];
  accept.free_count = pairs;
  meter_start(meter);
  for (unsigned i = 0; i < pairs; i++) connect_and_send(&accept);
  while (accept.open > 0) turn(&accept.bench, accept_handle);
  bench_close(&accept.bench);
  close(accept.listener.fd);
  free(accept.free_ends);
}

int main(int argc, char **argv) {
  static const struct program program = {
      .name = "c_epoll",
      .summary = "level-triggered epoll with sendmsg and recvmsg",
      .modes = {[PINGPONG] = pingpong,
                [TWOTHREADS] = pingpong,
                [ONEWAY] = oneway,
                [IDLE] = idle,
                [ACCEPT] = accept_mode},
  };
  return run(&program, argc, argv);
}
