// The runtime's half of withTaskCancellationHandler(operation:onCancel:), for a wait in which that function's closures and executor switches
// cost more than the wait itself (Docs/Decisions/0002). Exported by libswift_Concurrency since Swift 5.5; a toolchain without it does not link.
#ifndef CMESSAGESOCKETS_CANCELLATION_HANDLER_H
#define CMESSAGESOCKETS_CANCELLATION_HANDLER_H
#include <stdbool.h>
#include <stdint.h>

// What runs on the cancelling thread. It carries its two values itself, so that it looks at nothing that the loop's thread may be changing.
typedef struct cms_cancellation_handler {
  void (*_Nullable body)(void *_Nonnull context, uint64_t argument);
  void *_Nonnull context;
  uint64_t argument;
} cms_cancellation_handler;

// Whether the current task is cancelled; false outside a task. `Task.isCancelled` retains and releases the task for that.
bool cms_task_is_cancelled(void);
// To be called in a task. The body may run on any thread until the registration is removed; so long must `handler` stay where it is. NULL if the task was
// cancelled already: the body has run then. Registrations of one task are removed in reverse order.
void *_Nullable cms_task_add_cancellation_handler(cms_cancellation_handler *_Nonnull handler);
// When this returns, the handler has run or never will.
void cms_task_remove_cancellation_handler(void *_Nullable registration);

#endif
