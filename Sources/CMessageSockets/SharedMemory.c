// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "SharedMemory.h"

#include <asm-generic/hugetlb_encode.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

// Debian 12 ships the headers of Linux 6.1, which lack these.
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

_Static_assert(cms_seal_seal == F_SEAL_SEAL, "F_SEAL_SEAL");
_Static_assert(cms_seal_shrink == F_SEAL_SHRINK, "F_SEAL_SHRINK");
_Static_assert(cms_seal_grow == F_SEAL_GROW, "F_SEAL_GROW");
_Static_assert(cms_seal_write == F_SEAL_WRITE, "F_SEAL_WRITE");
_Static_assert(cms_seal_future_write == F_SEAL_FUTURE_WRITE, "F_SEAL_FUTURE_WRITE");
_Static_assert(cms_seal_exec == F_SEAL_EXEC, "F_SEAL_EXEC");
_Static_assert(cms_memory_allow_sealing == MFD_ALLOW_SEALING, "MFD_ALLOW_SEALING");
_Static_assert(cms_memory_huge == MFD_HUGETLB, "MFD_HUGETLB");
_Static_assert(cms_memory_noexec_seal == MFD_NOEXEC_SEAL, "MFD_NOEXEC_SEAL");
_Static_assert(cms_memory_huge_2mb == HUGETLB_FLAG_ENCODE_2MB, "MFD_HUGE_2MB");
_Static_assert(cms_memory_huge_1gb == HUGETLB_FLAG_ENCODE_1GB, "MFD_HUGE_1GB");
_Static_assert(cms_file_system_huge == HUGETLBFS_MAGIC, "HUGETLBFS_MAGIC");
_Static_assert(sizeof(off_t) == sizeof(int64_t), "off_t");

static int32_t result(int value) { return value < 0 ? -errno : value; }

int32_t cms_memory_create(const char *name, uint32_t flags) {
  return result(memfd_create(name, flags | MFD_CLOEXEC));
}

int32_t cms_memory_add_seals(int32_t fd, int32_t seals) {
  return result(fcntl(fd, F_ADD_SEALS, seals));
}

int64_t cms_file_size(int32_t fd) {
  struct stat status;
  return fstat(fd, &status) < 0 ? -errno : status.st_size;
}

int64_t cms_file_system(int32_t fd) {
  struct statfs status;
  return fstatfs(fd, &status) < 0 ? -errno : (int64_t)(uint32_t)status.f_type;
}

int32_t cms_file_truncate(int32_t fd, int64_t size) {
  int status;
  do {
    status = ftruncate(fd, size);
  } while (status < 0 && errno == EINTR);
  return result(status);
}

int32_t cms_file_reserve(int32_t fd, int64_t size) {
  int status;
  do {
    status = fallocate(fd, 0, 0, size);
  } while (status < 0 && errno == EINTR);
  return result(status);
}

int64_t cms_file_read(int32_t fd, void *bytes, size_t count, int64_t offset) {
  ssize_t length;
  do {
    length = pread(fd, bytes, count, offset);
  } while (length < 0 && errno == EINTR);
  return length < 0 ? -errno : length;
}

int32_t cms_map(int32_t fd, size_t length, int32_t kind, void **start) {
  int protection = kind == cms_mapping_writable ? PROT_READ | PROT_WRITE : PROT_READ;
  int flags = kind == cms_mapping_read_only ? MAP_PRIVATE : MAP_SHARED;
  void *mapped = mmap(NULL, length, protection, flags, fd, 0);
  if (mapped == MAP_FAILED) return -errno;
  *start = mapped;
  return 0;
}

void cms_unmap(void *start, size_t length) { (void)munmap(start, length); }
