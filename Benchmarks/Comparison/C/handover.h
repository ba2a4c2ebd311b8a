// SPDX-License-Identifier: Apache-2.0
#ifndef HANDOVER_H
#define HANDOVER_H

int pass(int peer, int listener);
int receive(int peer, int cancel, int milliseconds);
int serve(int peer, int cancel);

#endif
