// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Inspection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(cms_access_mode == O_ACCMODE, "O_ACCMODE");
_Static_assert(cms_access_read_only == O_RDONLY, "O_RDONLY");
_Static_assert(cms_access_write_only == O_WRONLY, "O_WRONLY");
_Static_assert(cms_access_read_write == O_RDWR, "O_RDWR");
_Static_assert(cms_access_path == O_PATH, "O_PATH");
_Static_assert(cms_mode_type == S_IFMT, "S_IFMT");
_Static_assert(cms_mode_fifo == S_IFIFO, "S_IFIFO");
_Static_assert(cms_mode_character_device == S_IFCHR, "S_IFCHR");
_Static_assert(cms_mode_directory == S_IFDIR, "S_IFDIR");
_Static_assert(cms_mode_block_device == S_IFBLK, "S_IFBLK");
_Static_assert(cms_mode_regular == S_IFREG, "S_IFREG");
_Static_assert(cms_mode_symbolic_link == S_IFLNK, "S_IFLNK");
_Static_assert(cms_mode_socket == S_IFSOCK, "S_IFSOCK");

static int32_t result(int value) { return value < 0 ? -errno : value; }

int32_t cms_status_flags(int32_t fd) { return result(fcntl(fd, F_GETFL)); }

int32_t cms_file_status_cached(int32_t fd, cms_file_status *status) {
  struct statx found;
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &found) < 0) return -errno;
  *status = (cms_file_status){found.stx_mode, found.stx_rdev_major, found.stx_rdev_minor};
  return 0;
}

int32_t cms_file_seals(int32_t fd) { return result(fcntl(fd, F_GET_SEALS)); }

int32_t cms_descriptor_text(int32_t fd, char *text, uint32_t capacity) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return result((int)readlink(path, text, capacity));
}

bool cms_can_duplicate(int32_t fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return false;
  (void)close(copy);
  return true;
}

uint64_t cms_descriptor_limit(void) {
  struct rlimit limit = {0};
  (void)getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

int32_t cms_set_descriptor_limit(uint64_t count) {
  struct rlimit limit = {0};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  limit.rlim_cur = count;
  return result(setrlimit(RLIMIT_NOFILE, &limit));
}

static uint32_t overflow_number(const char *path, _Atomic uint32_t *last) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    char text[16];
    ssize_t length = read(file, text, sizeof text - 1);
    (void)close(file);
    if (length > 0) {
      text[length] = 0;
      atomic_store_explicit(last, (uint32_t)strtoul(text, NULL, 10), memory_order_relaxed);
    }
  }
  return atomic_load_explicit(last, memory_order_relaxed);
}

uint32_t cms_overflow_user(void) {
  static _Atomic uint32_t last = 65534;
  return overflow_number("/proc/sys/kernel/overflowuid", &last);
}

uint32_t cms_overflow_group(void) {
  static _Atomic uint32_t last = 65534;
  return overflow_number("/proc/sys/kernel/overflowgid", &last);
}

int32_t cms_process_of_pidfd(int32_t fd, int32_t *process) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = open(path, O_RDONLY | O_CLOEXEC);
  if (info < 0) return -errno;
  char text[1024];
  ssize_t length = read(info, text, sizeof text - 1);
  int failure = errno;
  (void)close(info);
  if (length < 0) return -failure;
  text[length] = 0;
  const char *line = strstr(text, "\nPid:");
  if (line == NULL) return -ENOENT;
  *process = (int32_t)strtol(line + 5, NULL, 10);
  return 0;
}
