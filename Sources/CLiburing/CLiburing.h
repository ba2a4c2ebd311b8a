// SPDX-License-Identifier: Apache-2.0
// Links liburing. The C shim includes <liburing.h> itself; Swift never imports this module.
