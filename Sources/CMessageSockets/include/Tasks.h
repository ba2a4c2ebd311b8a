// SPDX-License-Identifier: Apache-2.0
// What the concurrency runtime knows of the current task, asked for directly: the runtime's half of
// withTaskCancellationHandler(operation:onCancel:), whose closures and executor switches would cost
// more than the wait itself (Docs/Decisions/0002), and two questions. Exported by
// libswift_Concurrency (since Swift 5.5, and used by code that the standard library inlines into
// programs; the preferred executor since 6.0, for the standard library alone): a toolchain without
// them does not link.
#ifndef CMESSAGESOCKETS_TASKS_H
#define CMESSAGESOCKETS_TASKS_H
#include <stdbool.h>
#include <stdint.h>

// What runs on the cancelling thread. It carries its two values itself, so that it looks at nothing
// that the loop's thread may be changing.
typedef struct cms_cancellation_handler {
  void (*_Nullable body)(void *_Nonnull context, uint64_t argument);
  void *_Nonnull context;
  uint64_t argument;
} cms_cancellation_handler;

// Whether the current task is cancelled; false outside a task. `Task.isCancelled` retains and
// releases the task for that.
bool cms_task_is_cancelled(void);
// The executor object that the current task prefers; NULL if it has no preference.
// `UnsafeCurrentTask.unownedTaskExecutor` costs ten times as much.
const void *_Nullable cms_task_preferred_executor(void);
// To be called in a task. The body may run on any thread until the registration is removed; so long
// must `handler` stay where it is. NULL if the task was cancelled already: the body has run then.
// Registrations of one task are removed in reverse order.
void *_Nullable cms_task_add_cancellation_handler(cms_cancellation_handler *_Nonnull handler);
// When this returns, the handler has run or never will.
void cms_task_remove_cancellation_handler(void *_Nullable registration);

#endif
