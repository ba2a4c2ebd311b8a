// SPDX-License-Identifier: Apache-2.0
// What a descriptor leads to, learnt without waiting for a file system, a peer or a lock: fstat(2)
// of a FUSE file waits for its server, F_GETPIPE_SZ for the writer of the pipe. Results are a
// value, or -errno.
#ifndef CMESSAGESOCKETS_INSPECTION_H
#define CMESSAGESOCKETS_INSPECTION_H
#include <stdbool.h>
#include <stdint.h>

enum : int32_t {
  cms_access_mode = 0x3, // O_ACCMODE
  cms_access_read_only = 0x0, // O_RDONLY
  cms_access_write_only = 0x1, // O_WRONLY
  cms_access_read_write = 0x2, // O_RDWR
  cms_access_path = 0x200000, // O_PATH
};

enum : uint32_t {
  cms_mode_type = 0170000, // S_IFMT
  cms_mode_fifo = 0010000,
  cms_mode_character_device = 0020000,
  cms_mode_directory = 0040000,
  cms_mode_block_device = 0060000,
  cms_mode_regular = 0100000,
  cms_mode_symbolic_link = 0120000,
  cms_mode_socket = 0140000,
};

typedef struct cms_file_status {
  uint32_t mode;
  uint32_t device_major;
  uint32_t device_minor;
} cms_file_status;

// F_GETFL.
int32_t cms_status_flags(int32_t fd);
// statx(2) with AT_STATX_DONT_SYNC, for the type alone: what the kernel knows, FUSE and network
// file systems are not asked.
int32_t cms_file_status_cached(int32_t fd, cms_file_status *status);
// F_GET_SEALS: -EINVAL for what is no memory file.
int32_t cms_file_seals(int32_t fd);
// readlink(2) of /proc/self/fd/N: how many bytes of `text` were filled.
int32_t cms_descriptor_text(int32_t fd, char *text, uint32_t capacity);
// Whether this process has a free descriptor: tries, and closes it again.
bool cms_can_duplicate(int32_t fd);
// The soft RLIMIT_NOFILE: how many descriptors this process may have open.
uint64_t cms_descriptor_limit(void);
// Sets it. The hard limit stays.
int32_t cms_set_descriptor_limit(uint64_t count);
// What stands for users, or groups, that have no number in our user namespace: kernel.overflowuid,
// kernel.overflowgid. If that cannot be read, as it was read last, or 65534.
uint32_t cms_overflow_user(void);
uint32_t cms_overflow_group(void);
// A line of /proc/self/fdinfo/N, for a pidfd: its process, -1 when that has ended and was waited
// for, 0 when it is in no namespace of ours. -ENOENT: no pidfd.
int32_t cms_process_of_pidfd(int32_t fd, int32_t *process);

#endif
