// SPDX-License-Identifier: Apache-2.0
#include "Tasks.h"

#include <stddef.h>

__attribute__((swiftcall)) void *swift_task_addCancellationHandler(
    __attribute__((swiftcall)) void (*handler)(__attribute__((swift_context)) void *),
    void *context);
__attribute__((swiftcall)) void swift_task_removeCancellationHandler(void *registration);
__attribute__((swiftcall)) void *swift_task_getCurrent(void);
__attribute__((swiftcall)) bool swift_task_isCancelled(void *task);

typedef struct executor_ref {
  const void *identity;
  uintptr_t implementation;
} executor_ref;

__attribute__((swiftcall)) executor_ref swift_task_getPreferredTaskExecutor(void);

__attribute__((swiftcall)) static void run(__attribute__((swift_context)) void *context) {
  const cms_cancellation_handler *handler = context;
  handler->body(handler->context, handler->argument);
}

bool cms_task_is_cancelled(void) {
  void *task = swift_task_getCurrent();
  return task != NULL && swift_task_isCancelled(task);
}

const void *_Nullable cms_task_preferred_executor(void) {
  return swift_task_getPreferredTaskExecutor().identity;
}

void *_Nullable cms_task_add_cancellation_handler(cms_cancellation_handler *_Nonnull handler) {
  return swift_task_addCancellationHandler(run, handler);
}

void cms_task_remove_cancellation_handler(void *_Nullable registration) {
  if (registration != NULL) swift_task_removeCancellationHandler(registration);
}
