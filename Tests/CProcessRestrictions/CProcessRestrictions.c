// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CProcessRestrictions.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t result(long value) { return value < 0 ? -errno : 0; }

// For all threads.
static int32_t install(struct sock_filter *instructions, size_t count) {
  struct sock_fprog program = {.len = (unsigned short)count, .filter = instructions};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}

int32_t cpr_refuse_io_uring(int32_t error) {
  // io_uring_setup, _enter and _register have the numbers 425 to 427 on every architecture.
  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 425, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 427, 1, 0),
      BPF_STMT(BPF_RET | BPF_K,
               error == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | (uint32_t)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  return install(instructions, sizeof instructions / sizeof *instructions);
}

int32_t cpr_refuse_io_uring_enter(int32_t error) {
  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 426, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  return install(instructions, sizeof instructions / sizeof *instructions);
}

// aarch64 never had the oldest of the three.
#ifndef SYS_epoll_wait
#define SYS_epoll_wait SYS_epoll_pwait
#endif

int32_t cpr_refuse_epoll_waits(int32_t error) {
  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_wait, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 441 /* epoll_pwait2, on every architecture */, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  return install(instructions, sizeof instructions / sizeof *instructions);
}

static int32_t limit(int resource, uint64_t value) {
  struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
  return result(setrlimit(resource, &limit));
}

int32_t cpr_limit_locked_memory(uint64_t bytes) { return limit(RLIMIT_MEMLOCK, bytes); }
int32_t cpr_limit_descriptors(uint64_t count) { return limit(RLIMIT_NOFILE, count); }

int32_t cpr_become_user(uint32_t user) {
  if (setgid(user) < 0) return -errno;
  return result(setuid(user));
}

int32_t cpr_kernel_has_ring(void) {
  struct io_uring_params parameters = {0};
  long ring = syscall(425 /* io_uring_setup */, 8, &parameters);
  if (ring < 0) return 0;
  close((int)ring);
  // What the library needs besides (Docs/KERNELS.md): Linux 5.13.
  return parameters.features & IORING_FEAT_NATIVE_WORKERS &&
                 parameters.features & IORING_FEAT_RSRC_TAGS
             ? 1
             : 0;
}

struct accept_failures {
  int notifications;
  int32_t error;
  uint32_t left;
};

// Decides what becomes of each accept: it fails, or is made.
static void *decide_accepts(void *argument) {
  struct accept_failures *failures = argument;
  for (;;) {
    struct seccomp_notif request = {0};
    if (ioctl(failures->notifications, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
      if (errno == EINTR || errno == ENOENT) continue;
      abort();
    }
    struct seccomp_notif_resp answer = {.id = request.id};
    if (failures->left > 0) {
      failures->left--;
      answer.error = -failures->error;
    } else {
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(failures->notifications, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

int32_t cpr_fail_accepts(int32_t error, uint32_t count) {
  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof instructions / sizeof *instructions,
                               .filter = instructions};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  long notifications =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (notifications < 0) return -errno;
  static struct accept_failures failures;
  failures =
      (struct accept_failures){.notifications = (int)notifications, .error = error, .left = count};
  pthread_t thread;
  return -pthread_create(&thread, NULL, decide_accepts, &failures);
}
