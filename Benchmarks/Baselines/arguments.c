// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "baseline.h"

const char *const mode_names[MODE_COUNT] = {
    "pingpong", "oneway", "twothreads", "perside", "twoprocesses", "idle", "accept", "cancel",
};

static void print_help(const struct program *program) {
  printf("%s: %s\n\n", program->name, program->summary);
  printf("  --mode M        ");
  for (int mode = 0; mode < MODE_COUNT; mode++) {
    if (program->modes[mode] != NULL) printf("%s ", mode_names[mode]);
  }
  printf("(pingpong)\n"
         "  --pairs N       socket pairs; in accept mode, connections at a time (1; in idle mode "
         "10000, or what the limit permits)\n"
         "  --fds F         descriptors in each message, 0 to 253 (1)\n"
         "  --bytes B       payload of each message, 1 to 65536 (64)\n"
         "  --kind K        stream, seqpacket or dgram (stream)\n"
         "  --threads T     threads over which the pairs are split (1; 2 in twothreads mode)\n"
         "  --burst N       messages that a oneway sender hands over before it looks at anything "
         "else (16)\n"
         "  --seconds S     measured time (1)\n"
         "  --messages N    measured messages per thread, instead of a time\n"
         "  --warmup W      seconds before the measurement (0.2)\n"
         "  --help\n\n"
         "Prints one line of JSON. One round trip is two messages, one each way.\n");
}

static double parse_number(const char *text, const char *name, double low, double high) {
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  if (errno != 0 || end == text || *end != 0 || !(value >= low && value <= high)) {
    fail("--%s %s: expected a number from %g to %g", name, text, low, high);
  }
  return value;
}

static unsigned parse_count(const char *text, const char *name, unsigned low, unsigned high) {
  double value = parse_number(text, name, low, high);
  if (value != (unsigned)value) fail("--%s %s: expected a whole number", name, text);
  return (unsigned)value;
}

static enum mode parse_mode(const char *text) {
  for (int mode = 0; mode < MODE_COUNT; mode++) {
    if (strcmp(text, mode_names[mode]) == 0) return mode;
  }
  fail("--mode %s: unknown (see --help)", text);
}

static int parse_kind(const char *text) {
  if (strcmp(text, "stream") == 0) return SOCK_STREAM;
  if (strcmp(text, "seqpacket") == 0) return SOCK_SEQPACKET;
  if (strcmp(text, "dgram") == 0) return SOCK_DGRAM;
  fail("--kind %s: expected stream, seqpacket or dgram", text);
}

const char *kind_name(int kind) {
  return kind == SOCK_STREAM ? "stream" : kind == SOCK_SEQPACKET ? "seqpacket" : "dgram";
}

static const struct option long_options[] = {
    {"mode", required_argument, NULL, 'm'},     {"pairs", required_argument, NULL, 'p'},
    {"fds", required_argument, NULL, 'f'},      {"bytes", required_argument, NULL, 'b'},
    {"kind", required_argument, NULL, 'k'},     {"threads", required_argument, NULL, 't'},
    {"burst", required_argument, NULL, 'u'},    {"seconds", required_argument, NULL, 's'},
    {"messages", required_argument, NULL, 'n'}, {"warmup", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
};

static void parse_option(struct options *options, int letter) {
  switch (letter) {
  case 'm': options->mode = parse_mode(optarg); break;
  case 'p': options->pairs = parse_count(optarg, "pairs", 1, 100000); break;
  case 'f': options->fds = parse_count(optarg, "fds", 0, MAX_FDS); break;
  case 'b': options->bytes = parse_count(optarg, "bytes", 1, MAX_BYTES); break;
  case 'k': options->kind = parse_kind(optarg); break;
  case 't': options->threads = parse_count(optarg, "threads", 1, 256); break;
  case 'u': options->burst = parse_count(optarg, "burst", 1, 64); break;
  case 's': options->seconds = parse_number(optarg, "seconds", 0.001, 3600); break;
  case 'n': options->messages = parse_count(optarg, "messages", 1, 4000000000u); break;
  case 'w': options->warmup = parse_number(optarg, "warmup", 0, 3600); break;
  default: fail("unknown argument (see --help)");
  }
}

// Raises the limit as far as possible, beyond the hard limit too if that is permitted.
static rlim_t raise_descriptor_limit(void) {
  struct rlimit limit;
  check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  struct rlimit wanted = {.rlim_cur = 1000000, .rlim_max = 1000000};
  if (limit.rlim_max >= wanted.rlim_max || setrlimit(RLIMIT_NOFILE, &wanted) < 0) {
    limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    return limit.rlim_max;
  }
  return wanted.rlim_cur;
}

// Returns 10,000, or fewer if both ends of that many pairs, together with the descriptors received
// in one wave, would exceed the descriptor limit.
static unsigned idle_pairs(const struct options *options) {
  rlim_t limit = raise_descriptor_limit();
  rlim_t others = IDLE_WAVE + IDLE_WAVE * options->fds;
  if (limit <= others + 2) fail("the limit of %ju open descriptors is too low", (uintmax_t)limit);
  rlim_t pairs = (limit - others) / 2;
  return pairs < 10000 ? (unsigned)pairs : 10000;
}

struct options parse(const struct program *program, int argc, char **argv) {
  raise_descriptor_limit();
  struct options options = {.program = program->name,
                            .kind = SOCK_STREAM,
                            .fds = 1,
                            .bytes = 64,
                            .burst = 16,
                            .seconds = 1,
                            .warmup = 0.2};
  int letter;
  while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
    if (letter == 'h') {
      print_help(program);
      exit(0);
    }
    parse_option(&options, letter);
  }
  if (optind < argc) fail("unexpected argument %s (see --help)", argv[optind]);
  if (options.pairs == 0) options.pairs = options.mode == IDLE ? idle_pairs(&options) : 1;
  if (options.threads == 0) options.threads = options.mode == TWOTHREADS ? 2 : 1;
  if (options.mode == PERSIDE)
    options.threads = options.pairs; // and as many again for the far ends
  if (options.threads > options.pairs) options.threads = options.pairs;
  bool has_threads = options.mode != IDLE && options.mode != TWOPROCESSES && options.mode != CANCEL;
  if (!has_threads && options.threads > 1) fail("%s mode has one thread", mode_names[options.mode]);
  if (options.mode == ACCEPT && options.kind == SOCK_DGRAM) fail("datagram sockets do not accept");
  if (program->modes[options.mode] == NULL)
    fail("no %s mode (see --help)", mode_names[options.mode]);
  return options;
}
