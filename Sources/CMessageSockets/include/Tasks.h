// SPDX-License-Identifier: Apache-2.0
// Direct calls to the concurrency runtime about the current task: its half of
// withTaskCancellationHandler(operation:onCancel:), whose closures and executor switches would cost
// more than the wait itself (Docs/Decisions/0002), and two queries. libswift_Concurrency exports
// these symbols since Swift 5.5, and the standard library inlines calls to them into programs; the
// preferred executor exists since 6.0, for the standard library only. A toolchain without them
// fails to link.
#ifndef CMESSAGESOCKETS_TASKS_H
#define CMESSAGESOCKETS_TASKS_H
#include <stdbool.h>
#include <stdint.h>

// The function to call on the cancelling thread. The handler holds both arguments itself, so it
// reads nothing that the loop's thread may be changing.
typedef struct cms_cancellation_handler {
  void (*_Nullable body)(void *_Nonnull context, uint64_t argument);
  void *_Nonnull context;
  uint64_t argument;
} cms_cancellation_handler;

// Whether the current task is cancelled; false outside a task. `Task.isCancelled` would retain and
// release the task.
bool cms_task_is_cancelled(void);
// The executor object that the current task prefers; NULL if it has no preference.
// `UnsafeCurrentTask.unownedTaskExecutor` costs ten times as much.
const void *_Nullable cms_task_preferred_executor(void);
// Call only inside a task. `body` may run on any thread until the registration is removed;
// `handler` must stay in place until then. Returns NULL if the task was already cancelled, in which
// case `body` has run. Remove the registrations of a task in reverse order.
void *_Nullable cms_task_add_cancellation_handler(cms_cancellation_handler *_Nonnull handler);
// When this returns, the handler has either run or will never run.
void cms_task_remove_cancellation_handler(void *_Nullable registration);

#endif
