// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CMemoryFile.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int32_t cmf_unsealed(int64_t size) {
  int file = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file >= 0) cmf_resize(file, size);
  return file;
}

int32_t cmf_half_sealed(int64_t size) {
  int file = cmf_unsealed(size);
  if (file < 0) return file;
  void *pixels = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (pixels == MAP_FAILED) return -1;
  (void)fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE);
  // The mapping remains, and writes in spite of the seal.
  memset(pixels, 0x80, (size_t)size);
  return file;
}

void cmf_resize(int32_t fd, int64_t size) { (void)!ftruncate(fd, size); }
