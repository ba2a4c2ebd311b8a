// SPDX-License-Identifier: Apache-2.0
#ifndef CMESSAGESOCKETS_OPERATION_MEMORY_H
#define CMESSAGESOCKETS_OPERATION_MEMORY_H
#include "Tasks.h"
#include "MessageHeader.h"

enum { cms_inline_vectors = 8 };

// The memory that one operation needs at a fixed address, in one allocation. The kernel's part
// comes first, in the order in which the kernel reads it.
typedef struct cms_operation_memory {
  cms_msghdr header;
  cms_iovec vectors[cms_inline_vectors];
  cms_cancellation_handler cancellation_handler;
  // Room for an address, allocated when an address is first needed; most operations have none.
  void *_Nullable name;
} cms_operation_memory;

static inline cms_msghdr *_Nonnull cms_header(cms_operation_memory *_Nonnull memory) {
  return &memory->header;
}
static inline cms_iovec *_Nonnull cms_vectors(cms_operation_memory *_Nonnull memory) {
  return memory->vectors;
}
static inline cms_cancellation_handler *_Nonnull cms_handler(
    cms_operation_memory *_Nonnull memory) {
  return &memory->cancellation_handler;
}

#endif
