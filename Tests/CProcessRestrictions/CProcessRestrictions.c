// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CProcessRestrictions.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int32_t result(long value) { return value < 0 ? -errno : 0; }

// Installs the filter for all threads.
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

// aarch64 never had epoll_wait, the oldest of the three.
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

int32_t cpr_refuse_noexec_seal(void) {
  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 8 /* MFD_NOEXEC_SEAL */, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
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

int32_t cpr_limit_threads(uint64_t count) { return limit(RLIMIT_NPROC, count); }
int32_t cpr_limit_descriptors_for_now(uint64_t count) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  limit.rlim_cur = count == 0 ? limit.rlim_max : count;
  return result(setrlimit(RLIMIT_NOFILE, &limit));
}

uint32_t cpr_threads_resource(void) { return RLIMIT_NPROC; }

int32_t cpr_become_user(uint32_t user) {
  if (setgid(user) < 0) return -errno;
  return result(setuid(user));
}

int32_t cpr_kernel_has_ring(void) {
  struct io_uring_params parameters = {0};
  long ring = syscall(425 /* io_uring_setup */, 8, &parameters);
  if (ring < 0) return 0;
  close((int)ring);
  // The library's other requirements (Docs/KERNELS.md): Linux 5.13.
  return parameters.features & IORING_FEAT_NATIVE_WORKERS &&
                 parameters.features & IORING_FEAT_RSRC_TAGS
             ? 1
             : 0;
}

static int small_ring(void) {
  struct io_uring_params parameters = {0};
  return (int)syscall(425 /* io_uring_setup */, 256, &parameters);
}

int32_t cpr_kernel_counts_rings(void) {
  // The child behaves as after a fork without exec. Bare system calls are used because a
  // sanitizer's own may wait for a thread that does not exist there.
  long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    struct rlimit none = {4096, 4096};
    int status = syscall(SYS_setrlimit, RLIMIT_MEMLOCK, &none) < 0 ||
                         syscall(SYS_setresuid, 61233, 61233, 61233) < 0
                     ? 2
                     : small_ring() < 0 && errno == ENOMEM;
    for (;;) syscall(SYS_exit_group, status);
  }
  int status = 0;
  while (waitpid((pid_t)child, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

int32_t cpr_kernel_passes_rings(void) {
  int pair[2], ring = small_ring();
  if (ring < 0) return 0;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return 0;
  char byte = 1;
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof ring)] = {0};
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof ring);
  memcpy(CMSG_DATA(rights), &ring, sizeof ring);
  ssize_t sent = sendmsg(pair[0], &message, MSG_NOSIGNAL);
  close(pair[0]), close(pair[1]), close(ring);
  return sent == 1;
}

struct accept_failures {
  int notifications;
  int32_t error;
  uint32_t left;
};

// Decides for each accept whether it fails or is performed.
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
