#ifndef CMESSAGESOCKETS_H
#define CMESSAGESOCKETS_H
#include <stddef.h>
#include <stdint.h>
#include "ControlMessageLayout.h"
#endif
