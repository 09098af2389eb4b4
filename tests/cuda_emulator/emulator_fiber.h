/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_fiber.h - a stack of its own and a switch between stacks.
 *
 * Thread: a fiber stays on the thread that first ran it. */
#pragma once

#include <stddef.h>

struct emulator_fiber {
    void *stack_pointer;     /* While it does not run; a context of ucontext where there is no
                                switch of ours. */
    void *stack;             /* Lowest address; of the caller's own fiber filled when it is left. */
    size_t stack_bytes;
    void *sanitizer_stack;   /* What AddressSanitizer keeps for it. */
};

/* Gives it a stack; the first switch to it runs entry(), which never returns. `colour` shifts the
 * stack's beginning, so that equal places of many stacks do not fall into one set of the cache. */
void emulator_fiber_create(struct emulator_fiber *fiber, void (*entry)(void), size_t colour);

/* The first thing that entry() calls. */
void emulator_fiber_entered(void);

/* Leaves `from`, which is running, for `to`; returns when somebody switches back. */
void emulator_fiber_switch(struct emulator_fiber *from, struct emulator_fiber *to);
