// SPDX-License-Identifier: Apache-2.0
// The code that all C baselines share: arguments, sockets, message checks, timing, and the one line
// of output.
//
// A program supplies one function for each mode that it supports; `run` splits the pairs over the
// threads and calls it. Every failed check ends the process through `fail`: a baseline that does
// less work than it claims is worthless.
#ifndef BASELINE_H
#define BASELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
  // The kernel delivers at most 253 descriptors with one message.
  MAX_FDS = 253,
  // Room for every control message that Linux can attach to one message; a multiple of 8.
  CONTROL_BYTES = 2048,
  MAX_BYTES = 65536,
  // The number of messages in flight in idle mode.
  IDLE_WAVE = 64,
};

enum mode { PINGPONG, ONEWAY, TWOTHREADS, PERSIDE, TWOPROCESSES, IDLE, ACCEPT, CANCEL, MODE_COUNT };

struct options {
  const char *program;
  enum mode mode;
  int kind; // SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM
  unsigned pairs;
  unsigned fds;
  unsigned bytes;
  unsigned threads;
  unsigned burst;
  double seconds;
  double warmup;
  uint64_t messages; // if not 0, measure this many messages per thread instead of `seconds`
};

// The message that every end sends: one /dev/null descriptor, `fds` times. The kernel only reads
// it, so all sends of a thread share it.
struct outgoing {
  struct msghdr header;
  struct iovec payload;
  int descriptor;
  int flags;
  char *bytes;
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
};

void outgoing_open(struct outgoing *message, const struct options *options);
void outgoing_close(struct outgoing *message);

// The part that one end has received of a message that a stream delivers in pieces.
struct inbox {
  unsigned partial;
};

// One successful receive, wherever its bytes are.
struct received {
  const char *payload;
  size_t length;
  void *control;
  size_t control_length;
  int flags;
};

// Checks a receive, closes its descriptors, and returns how many messages it completed.
unsigned inbox_take(struct inbox *inbox, const struct options *options,
                    const struct received *received);

// Counts messages, and decides when a thread's warm-up and measurement end.
struct meter {
  const struct options *options;
  uint64_t sent, received; // messages
  uint64_t enters; // system calls that submit, send, receive or wait; not close
  // Below: private to the meter.
  enum { WARMING, MEASURING, DONE } phase;
  uint64_t check_at;
  uint64_t phase_start;
  uint64_t first_message, first_enter;
  uint64_t elapsed_ns, messages, enters_measured;
  double resident_bytes; // per connection, in idle mode
};

// How many threads wait for each other before they start.
void meters_expect(unsigned threads);
// Waits until every thread is set up, then starts the warm-up.
void meter_start(struct meter *meter);
// Returns false once the measurement is over; then send nothing new, and drain until
// `received == sent`.
bool meter_running(struct meter *meter);
// For work that is done once: begin and end the measurement explicitly.
void meter_begin(struct meter *meter);
void meter_end(struct meter *meter);

// The work of one thread; `pairs` is the thread's share.
typedef void (*worker)(struct meter *meter, const struct options *options, unsigned pairs);

struct program {
  const char *name;
  const char *summary;
  worker modes[MODE_COUNT]; // NULL: not supported
};

// Parses the arguments. Also raises the descriptor limit as far as possible.
struct options parse(const struct program *program, int argc, char **argv);
extern const char *const mode_names[MODE_COUNT];
const char *kind_name(int kind);

// Parses the arguments, runs the mode, checks that no descriptor has leaked, and prints the JSON
// line.
int run(const struct program *program, int argc, char **argv);

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Fails with errno's text if `result` is negative; otherwise returns it.
int check(int result, const char *what);
// Fails with the text of the negative errno that io_uring returns.
int check_ring(int result, const char *what);

void open_pair(const struct options *options, int ends[2]);
void *allocate(size_t count, size_t size);
size_t resident_bytes(void);

// A listener on an unused abstract address (chosen by the kernel), with the information needed to
// connect to it.
struct listener {
  int fd;
  socklen_t address_length;
  struct sockaddr_storage address;
};
void listener_open(struct listener *listener, const struct options *options);
int open_client(const struct options *options);

#endif
