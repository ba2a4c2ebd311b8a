// SPDX-License-Identifier: Apache-2.0
// A Varlink service and client made of systemd's sd-varlink, for the tests that talk to it.
//
//   sd_varlink_peer serve SOCKET       a service on a connected socket (a descriptor's number)
//   sd_varlink_peer client ADDRESS     (unix:PATH) calls com.example.Test there; says what was wrong
//
// Its service has com.example.Peer: Add, Open (a file that says `number`), Read (what a file says),
// Count (with more), Fail.
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-event.h>
#include <systemd/sd-json.h>
#include <systemd/sd-varlink.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);                        \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

static int64_t integer(sd_json_variant *parameters, const char *name) {
  sd_json_variant *value = sd_json_variant_by_key(parameters, name);
  return value ? sd_json_variant_integer(value) : -1;
}

// Files with distinct content: eight bytes that contain the file's number.
static int numbered_file(int64_t number) {
  int file = memfd_create("numbered", MFD_CLOEXEC);
  CHECK(file >= 0 && pwrite(file, &number, sizeof number, 0) == sizeof number);
  return file;
}

static int64_t number_of(int file) {
  int64_t number = -1;
  CHECK(pread(file, &number, sizeof number, 0) == sizeof number);
  return number;
}

#define NUMBER(value)                                                                              \
  SD_JSON_BUILD_OBJECT(SD_JSON_BUILD_PAIR("number", SD_JSON_BUILD_INTEGER(value)))
#define FILE_INDEX(value)                                                                          \
  SD_JSON_BUILD_OBJECT(SD_JSON_BUILD_PAIR("file", SD_JSON_BUILD_INTEGER(value)))

static int add(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
               void *data) {
  return sd_varlink_replyb(link, NUMBER(integer(parameters, "number") + 1));
}

static int open_file(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
                     void *data) {
  int index = sd_varlink_push_fd(link, numbered_file(integer(parameters, "number")));
  CHECK(index == 0);
  return sd_varlink_replyb(link, FILE_INDEX(index));
}

static int read_file(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
                     void *data) {
  int file = sd_varlink_peek_fd(link, (size_t)integer(parameters, "file"));
  return sd_varlink_replyb(link, NUMBER(file < 0 ? -1 : number_of(file)));
}

static int count(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
                 void *data) {
  if (!(flags & SD_VARLINK_METHOD_MORE))
    return sd_varlink_error(link, SD_VARLINK_ERROR_EXPECTED_MORE, NULL);
  int64_t last = integer(parameters, "number");
  for (int64_t number = 0; number < last; number++)
    CHECK(sd_varlink_notifyb(link, NUMBER(number)) >= 0);
  return sd_varlink_replyb(link, NUMBER(last));
}

static int fail(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
                void *data) {
  return sd_varlink_errorb(link, "com.example.Peer.TooLarge",
                           NUMBER(integer(parameters, "number")));
}

static void serve(int socket) {
  sd_event *event = NULL;
  sd_varlink_server *server = NULL;
  sd_varlink *link = NULL;
  CHECK(sd_event_new(&event) >= 0 && sd_varlink_server_new(&server, 0) >= 0);
  CHECK(sd_varlink_server_bind_method(server, "com.example.Peer.Add", add) >= 0);
  CHECK(sd_varlink_server_bind_method(server, "com.example.Peer.Open", open_file) >= 0);
  CHECK(sd_varlink_server_bind_method(server, "com.example.Peer.Read", read_file) >= 0);
  CHECK(sd_varlink_server_bind_method(server, "com.example.Peer.Count", count) >= 0);
  CHECK(sd_varlink_server_bind_method(server, "com.example.Peer.Fail", fail) >= 0);
  CHECK(sd_varlink_server_attach_event(server, event, 0) >= 0);
  CHECK(sd_varlink_server_add_connection(server, socket, &link) >= 0);
  CHECK(sd_varlink_set_allow_fd_passing_input(link, 1) >= 0);
  CHECK(sd_varlink_set_allow_fd_passing_output(link, 1) >= 0);
  sd_varlink_ref(link);
  while (sd_varlink_get_events(link) >= 0) CHECK(sd_event_run(event, UINT64_MAX) >= 0);
}

static sd_json_variant *call(sd_varlink *link, const char *method, const char *name, int64_t value,
                             const char **error) {
  sd_json_variant *reply = NULL;
  CHECK(sd_varlink_callb(
            link, method, &reply, error,
            SD_JSON_BUILD_OBJECT(SD_JSON_BUILD_PAIR(name, SD_JSON_BUILD_INTEGER(value)))) >= 0);
  return reply;
}

static int replies;
static int64_t files;

static int take_reply(sd_varlink *link, sd_json_variant *parameters, const char *error,
                      sd_varlink_reply_flags_t flags, void *data) {
  CHECK(!error && integer(parameters, "number") == replies);
  // Every reply except the last brings a file.
  int file = sd_varlink_peek_fd(link, 0);
  if (file >= 0) {
    CHECK(number_of(file) == replies);
    files++;
  }
  replies++;
  return 0;
}

static void run_client(const char *address) {
  const char *error = NULL;
  sd_varlink *link = NULL;
  CHECK(sd_varlink_connect_url(&link, address) >= 0);
  CHECK(sd_varlink_set_allow_fd_passing_input(link, 1) >= 0 &&
        sd_varlink_set_allow_fd_passing_output(link, 1) >= 0);
  CHECK(integer(call(link, "com.example.Test.Add", "number", 41, &error), "number") == 42 &&
        !error);
  call(link, "com.example.Test.Fail", "number", 9, &error);
  CHECK(error && !strcmp(error, "com.example.Test.TooLarge"));
  call(link, "com.example.Test.None", "number", 9, &error);
  CHECK(error && !strcmp(error, SD_VARLINK_ERROR_METHOD_NOT_FOUND));
  sd_json_variant *opened = call(link, "com.example.Test.Open", "number", 7, &error);
  CHECK(!error && number_of(sd_varlink_peek_fd(link, (size_t)integer(opened, "file"))) == 7);
  CHECK(sd_varlink_push_fd(link, numbered_file(8)) == 0);
  CHECK(integer(call(link, "com.example.Test.Read", "file", 0, &error), "number") == 8 && !error);
  // Several replies, each with a file. Uses another connection, because this one would deliver the
  // last call's reply again.
  CHECK(sd_varlink_connect_url(&link, address) >= 0 &&
        sd_varlink_set_allow_fd_passing_input(link, 1) >= 0);
  CHECK(sd_varlink_bind_reply(link, take_reply) >= 0);
  CHECK(sd_varlink_observeb(link, "com.example.Test.Count", NUMBER(20)) >= 0);
  while (replies < 21) {
    int progress = sd_varlink_process(link);
    CHECK(progress >= 0);
    if (!progress) CHECK(sd_varlink_wait(link, UINT64_MAX) >= 0);
  }
  CHECK(files == 20);
}

int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "serve")) {
    serve(atoi(words[2]));
  } else if (count == 3 && !strcmp(words[1], "client")) {
    run_client(words[2]);
  } else {
    return 2;
  }
  return 0;
}
