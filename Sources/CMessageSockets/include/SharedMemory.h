// SPDX-License-Identifier: Apache-2.0
// Memory files: memfd_create(2), seals, mappings. All descriptors are created close-on-exec.
// Nothing here makes decisions. Each function returns a value or -errno; EINTR is retried.
#ifndef CMESSAGESOCKETS_SHARED_MEMORY_H
#define CMESSAGESOCKETS_SHARED_MEMORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum : int32_t {
  cms_seal_seal = 0x1, // F_SEAL_SEAL
  cms_seal_shrink = 0x2, // F_SEAL_SHRINK
  cms_seal_grow = 0x4, // F_SEAL_GROW
  cms_seal_write = 0x8, // F_SEAL_WRITE
  cms_seal_future_write = 0x10, // F_SEAL_FUTURE_WRITE, Linux 5.1
  cms_seal_exec = 0x20, // F_SEAL_EXEC, Linux 6.3
};

enum : uint32_t {
  cms_memory_allow_sealing = 0x2, // MFD_ALLOW_SEALING
  cms_memory_huge = 0x4, // MFD_HUGETLB
  cms_memory_noexec_seal = 0x8, // MFD_NOEXEC_SEAL, Linux 6.3; allows sealing
  cms_memory_huge_2mb = 21u << 26, // MFD_HUGE_2MB
  cms_memory_huge_1gb = 30u << 26, // MFD_HUGE_1GB
};

// The longest name of a memory file, without the NUL (NAME_MAX less "memfd:").
enum { cms_memory_name_limit = 249 };

// The file system type that fstatfs(2) reports for huge pages.
enum : int64_t { cms_file_system_huge = 0x958458f6 }; // HUGETLBFS_MAGIC

enum : int32_t {
  cms_mapping_read_only = 0, // PROT_READ, MAP_PRIVATE
  cms_mapping_read_only_shared, // PROT_READ, MAP_SHARED
  cms_mapping_writable, // PROT_READ | PROT_WRITE, MAP_SHARED
};

int32_t cms_memory_create(const char *name, uint32_t flags);
int32_t cms_memory_add_seals(int32_t fd, int32_t seals);
int64_t cms_file_size(int32_t fd);
// The file system type, as fstatfs(2) reports it.
int64_t cms_file_system(int32_t fd);
int32_t cms_file_truncate(int32_t fd, int64_t size);
// fallocate(2): allocates the memory now.
int32_t cms_file_reserve(int32_t fd, int64_t size);
// pread(2).
int64_t cms_file_read(int32_t fd, void *bytes, size_t count, int64_t offset);
int32_t cms_map(int32_t fd, size_t length, int32_t kind, void **start);
void cms_unmap(void *start, size_t length);

#endif
