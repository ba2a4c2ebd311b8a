// SPDX-License-Identifier: Apache-2.0
// Inspects descriptors without waiting for a file system, a peer or a lock. (fstat(2) on a FUSE
// file waits for its server, and F_GETPIPE_SZ for the pipe's writer.) Each function returns a value
// or -errno.
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
// statx(2) with AT_STATX_DONT_SYNC, for the type and device only: returns what the kernel has
// cached, without asking FUSE or a network file system.
int32_t cms_file_status_cached(int32_t fd, cms_file_status *status);
// F_GET_SEALS; -EINVAL if the descriptor is not a memory file.
int32_t cms_file_seals(int32_t fd);
// readlink(2) on /proc/self/fd/N. Returns the number of bytes written to `text`.
int32_t cms_descriptor_text(int32_t fd, char *text, uint32_t capacity);
// Whether this process can open another descriptor. It tries, and closes the new one again.
bool cms_can_duplicate(int32_t fd);
// The soft RLIMIT_NOFILE: how many descriptors this process may have open.
uint64_t cms_descriptor_limit(void);
// Sets the soft RLIMIT_NOFILE; the hard limit does not change.
int32_t cms_set_descriptor_limit(uint64_t count);
// The number that stands for users, or groups, without a number in our user namespace
// (kernel.overflowuid, kernel.overflowgid). If it cannot be read, the last value that was read,
// or 65534.
uint32_t cms_overflow_user(void);
uint32_t cms_overflow_group(void);
// The process of a pidfd, from /proc/self/fdinfo/N: -1 if the process has ended and been waited
// for, 0 if it is in no namespace of ours. Returns -ENOENT if `fd` is not a pidfd.
int32_t cms_process_of_pidfd(int32_t fd, int32_t *process);

#endif
