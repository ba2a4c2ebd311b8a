// SPDX-License-Identifier: Apache-2.0
// The umbrella header. Do not include system headers from here: Swift's Glibc overlay imports them
// as well, and the two copies clash in debug builds.
#ifndef CMESSAGESOCKETS_H
#define CMESSAGESOCKETS_H

#if !defined(__linux__) || defined(__ANDROID__)
#error "swift-message-sockets needs Linux: depend on it with condition: .when(platforms: [.linux])"
#endif

#include "Completions.h"
#include "ControlMessages.h"
#include "Inspection.h"
#include "MessageHeader.h"
#include "OperationMemory.h"
#include "Processes.h"
#include "Epoll.h"
#include "SharedMemory.h"
#include "SocketOptions.h"
#include "Sockets.h"
#include "Tasks.h"
#include "Threads.h"
#include "Vsock.h"

#endif
