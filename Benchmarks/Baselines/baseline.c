#include "baseline.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "baseline";
static pthread_barrier_t ready;

// MARK: Failing

_Noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s: ", program_name);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

int check(int result, const char *what) {
  if (result < 0) fail("%s: %s", what, strerror(errno));
  return result;
}

int check_ring(int result, const char *what) {
  if (result < 0) fail("%s: %s", what, strerror(-result));
  return result;
}

void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) fail("out of memory");
  return memory;
}

// MARK: Sockets

void open_pair(const struct options *options, int ends[2]) {
  check(socketpair(AF_UNIX, options->kind | SOCK_CLOEXEC, 0, ends), "socketpair");
}

void listener_open(struct listener *listener, const struct options *options) {
  // Binding the bare family makes the kernel choose a free abstract name.
  struct sockaddr_un automatic = {.sun_family = AF_UNIX};
  listener->fd = check(socket(AF_UNIX, options->kind | SOCK_CLOEXEC, 0), "socket");
  check(bind(listener->fd, (struct sockaddr *)&automatic, sizeof automatic.sun_family), "bind");
  listener->address_length = sizeof listener->address;
  check(getsockname(listener->fd, (struct sockaddr *)&listener->address, &listener->address_length), "getsockname");
  check(listen(listener->fd, SOMAXCONN), "listen");
}

int open_client(const struct options *options) {
  return check(socket(AF_UNIX, options->kind | SOCK_CLOEXEC, 0), "socket");
}

// MARK: Messages

static const char PATTERN = 0x5a;

static void attach_descriptors(struct outgoing *message, unsigned count) {
  size_t length = count * sizeof(int);
  message->header.msg_control = message->control;
  message->header.msg_controllen = CMSG_SPACE(length);
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message->header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(length);
  for (unsigned i = 0; i < count; i++) {
    memcpy(CMSG_DATA(rights) + i * sizeof(int), &message->descriptor, sizeof(int));
  }
}

void outgoing_open(struct outgoing *message, const struct options *options) {
  memset(message, 0, sizeof *message);
  message->bytes = allocate(1, options->bytes);
  memset(message->bytes, PATTERN, options->bytes);
  message->payload = (struct iovec){.iov_base = message->bytes, .iov_len = options->bytes};
  message->header.msg_iov = &message->payload;
  message->header.msg_iovlen = 1;
  message->descriptor = check(open("/dev/null", O_RDONLY | O_CLOEXEC), "/dev/null");
  if (options->fds > 0) attach_descriptors(message, options->fds);
  // On a stream the kernel itself sends the rest after a short send, without repeating the descriptors.
  message->flags = MSG_NOSIGNAL | (options->kind == SOCK_STREAM ? MSG_WAITALL : 0);
}

void outgoing_close(struct outgoing *message) {
  close(message->descriptor);
  free(message->bytes);
}

static unsigned close_rights(const struct cmsghdr *rights) {
  unsigned count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (unsigned i = 0; i < count; i++) {
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(rights) + i * sizeof(int), sizeof descriptor);
    check(close(descriptor), "close of a received descriptor");
  }
  return count;
}

static unsigned close_descriptors(const struct received *received) {
  struct msghdr view = {.msg_control = received->control, .msg_controllen = received->control_length};
  unsigned count = 0;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(&view); item != NULL; item = CMSG_NXTHDR(&view, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS) count += close_rights(item);
  }
  return count;
}

static void check_payload(const struct received *received) {
  if (received->length == 0) fail("the peer closed, or an empty message arrived");
  if (received->payload[0] != PATTERN || received->payload[received->length - 1] != PATTERN) {
    fail("a received payload has the wrong bytes");
  }
}

unsigned inbox_take(struct inbox *inbox, const struct options *options, const struct received *received) {
  // Adopt the descriptors first, judge later. Without room for control, CTRUNC says nothing about descriptors of ours.
  unsigned descriptors = received->control_length > 0 ? close_descriptors(received) : 0;
  if (options->fds > 0 && (received->flags & MSG_CTRUNC)) fail("truncated control data");
  if (received->flags & MSG_TRUNC) fail("truncated payload");
  check_payload(received);

  // Descriptors come with the first byte of their own send: count the messages that begin in this receive.
  unsigned size = options->bytes;
  unsigned reach = inbox->partial + (unsigned)received->length;
  unsigned begun = (reach + size - 1) / size - (inbox->partial > 0);
  if (descriptors != begun * options->fds) {
    fail("%u descriptors arrived instead of %u", descriptors, begun * options->fds);
  }
  if (options->kind != SOCK_STREAM && reach != size) fail("%u bytes arrived instead of %u", reach, size);
  inbox->partial = reach % size;
  return reach / size;
}

// MARK: Timing

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void meter_start(struct meter *meter) {
  pthread_barrier_wait(&ready);
  meter->phase = WARMING;
  meter->phase_start = now();
}

void meter_begin(struct meter *meter) {
  meter->phase = MEASURING;
  meter->first_message = meter->received;
  meter->first_enter = meter->enters;
  meter->phase_start = now();
}

void meter_end(struct meter *meter) {
  meter->elapsed_ns = now() - meter->phase_start;
  meter->phase = DONE;
  meter->messages = meter->received - meter->first_message;
  meter->enters_measured = meter->enters - meter->first_enter;
}

static bool measured_enough(const struct meter *meter, uint64_t elapsed) {
  uint64_t wanted = meter->options->messages;
  if (wanted > 0) return meter->received - meter->first_message >= wanted;
  return elapsed >= meter->options->seconds * 1e9;
}

bool meter_running(struct meter *meter) {
  if (meter->phase == DONE) return false;
  // Reading the clock costs as much as a hundredth of a message: do it now and then.
  if (meter->received < meter->check_at) return true;
  meter->check_at = meter->received + 64;
  uint64_t elapsed = now() - meter->phase_start;
  if (meter->phase == WARMING) {
    if (elapsed >= meter->options->warmup * 1e9) meter_begin(meter);
  } else if (measured_enough(meter, elapsed)) {
    meter_end(meter);
  }
  return meter->phase != DONE;
}

size_t resident_bytes(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long total, resident;
  if (file == NULL || fscanf(file, "%lu %lu", &total, &resident) != 2) fail("/proc/self/statm cannot be read");
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

// MARK: Arguments

static const char *const mode_names[MODE_COUNT] = {"pingpong", "oneway", "twothreads", "perside", "idle", "accept"};

static void print_help(const struct program *program) {
  printf("%s: %s\n\n", program->name, program->summary);
  printf("  --mode M        ");
  for (int mode = 0; mode < MODE_COUNT; mode++) {
    if (program->modes[mode] != NULL) printf("%s ", mode_names[mode]);
  }
  printf("(pingpong)\n"
         "  --pairs N       socket pairs; in accept mode, connections at a time (1; in idle mode 10000, or what the limit permits)\n"
         "  --fds F         descriptors in each message, 0 to 253 (1)\n"
         "  --bytes B       payload of each message, 1 to 65536 (64)\n"
         "  --kind K        stream, seqpacket or dgram (stream)\n"
         "  --threads T     threads over which the pairs are split (1; 2 in twothreads mode)\n"
         "  --burst N       messages that a oneway sender hands over before it looks at anything else (16)\n"
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

static const char *kind_name(int kind) {
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

// As far as it may go, beyond the hard limit too if that is permitted.
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

// 10,000, unless both ends of so many pairs and the received descriptors of a wave exceed the limit.
static unsigned idle_pairs(const struct options *options) {
  rlim_t limit = raise_descriptor_limit();
  rlim_t others = IDLE_WAVE + IDLE_WAVE * options->fds;
  if (limit <= others + 2) fail("the limit of %ju open descriptors is too low", (uintmax_t)limit);
  rlim_t pairs = (limit - others) / 2;
  return pairs < 10000 ? (unsigned)pairs : 10000;
}

static struct options parse(const struct program *program, int argc, char **argv) {
  struct options options = {.program = program->name, .kind = SOCK_STREAM, .fds = 1, .bytes = 64, .burst = 16,
                            .seconds = 1, .warmup = 0.2};
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
  if (options.mode == PERSIDE) options.threads = options.pairs;  // and as many again for the far ends
  if (options.threads > options.pairs) options.threads = options.pairs;
  if (options.mode == IDLE && options.threads > 1) fail("idle mode has one thread");
  if (options.mode == ACCEPT && options.kind == SOCK_DGRAM) fail("datagram sockets do not accept");
  if (program->modes[options.mode] == NULL) fail("no %s mode (see --help)", mode_names[options.mode]);
  return options;
}

// MARK: Running

static unsigned count_open_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) fail("/proc/self/fd cannot be read");
  unsigned count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

struct thread {
  pthread_t handle;
  worker work;
  unsigned pairs;
  struct meter meter;
};

static void *thread_main(void *argument) {
  struct thread *thread = argument;
  thread->work(&thread->meter, thread->meter.options, thread->pairs);
  return NULL;
}

static void run_threads(struct thread *threads, const struct options *options, worker work) {
  check_ring(-pthread_barrier_init(&ready, NULL, options->threads), "pthread_barrier_init");
  for (unsigned i = 0; i < options->threads; i++) {
    threads[i].work = work;
    threads[i].pairs = options->pairs / options->threads + (i < options->pairs % options->threads);
    threads[i].meter.options = options;
    if (i > 0) check_ring(-pthread_create(&threads[i].handle, NULL, thread_main, &threads[i]), "pthread_create");
  }
  // The first share runs here: a single-threaded baseline is a single-threaded process.
  thread_main(&threads[0]);
  for (unsigned i = 1; i < options->threads; i++) check_ring(-pthread_join(threads[i].handle, NULL), "pthread_join");
  pthread_barrier_destroy(&ready);
}

static void print_figure(const char *name, bool applies, double value) {
  if (applies) printf(",\"%s\":%.1f", name, value);
  else printf(",\"%s\":null", name);
}

static void report(const struct thread *threads, const struct options *options) {
  double messages_per_ns = 0;
  uint64_t messages = 0, enters = 0;
  for (unsigned i = 0; i < options->threads; i++) {
    const struct meter *meter = &threads[i].meter;
    if (meter->messages == 0) fail("nothing was measured");
    messages_per_ns += (double)meter->messages / (double)meter->elapsed_ns;
    messages += meter->messages;
    enters += meter->enters_measured;
  }
  enum mode mode = options->mode;
  printf("{\"program\":\"%s\",\"mode\":\"%s\",\"kind\":\"%s\",\"pairs\":%u,\"fds\":%u,\"bytes\":%u,\"threads\":%u",
         options->program, mode_names[mode], kind_name(options->kind), options->pairs, options->fds, options->bytes,
         mode == PERSIDE ? 2 * options->threads : options->threads);
  print_figure("ns_per_roundtrip", mode == PINGPONG || mode == TWOTHREADS || mode == PERSIDE, 2 / messages_per_ns);
  print_figure("ns_per_message", true, 1 / messages_per_ns);
  print_figure("resident_bytes_per_connection", mode == IDLE, threads[0].meter.resident_bytes);
  printf(",\"messages\":%llu,\"enters_per_message\":%.4f}\n", (unsigned long long)messages,
         (double)enters / (double)messages);
}

int run(const struct program *program, int argc, char **argv) {
  program_name = program->name;
  struct options options = parse(program, argc, argv);
  raise_descriptor_limit();
  unsigned before = count_open_descriptors();
  struct thread *threads = allocate(options.threads, sizeof *threads);
  run_threads(threads, &options, program->modes[options.mode]);
  unsigned after = count_open_descriptors();
  if (after != before) fail("%d descriptors leaked", (int)after - (int)before);
  report(threads, &options);
  free(threads);
  return 0;
}
