// Links liburing. The C shim includes <liburing.h> itself; Swift never imports this module.
