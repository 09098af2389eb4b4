/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_fiber.cpp - fibers: a switch in assembler on x86-64, ucontext
 * elsewhere; AddressSanitizer is told of every switch.
 *
 * Thread: a fiber stays on the thread that first ran it. */
#include "emulator_fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_HAS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_HAS_ADDRESS_SANITIZER 1
#endif
#endif

#ifdef EMULATOR_HAS_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 * 1024 }; /* Frames are wider. */
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

static struct emulator_fiber *left; /* By the latest switch. */

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)

extern "C" void emulator_switch_stacks(void **pointer_from, void *pointer_to);

/* Keeps the registers that the System V ABI says a call preserves; rounding modes never change. */
asm(".text\n"
    ".globl emulator_switch_stacks\n"
    ".type emulator_switch_stacks, @function\n"
    "emulator_switch_stacks:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size emulator_switch_stacks, .-emulator_switch_stacks\n");

static void prepare(struct emulator_fiber *fiber, void (*entry)(void), size_t colour)
{
    enum { PRESERVED = 6 };
    uintptr_t top = reinterpret_cast<uintptr_t>(fiber->stack) + fiber->stack_bytes;
    top = (top - colour) & ~static_cast<uintptr_t>(15);
    void **words = reinterpret_cast<void **>(top);
    *--words = nullptr; /* Where entry() would return to: 8 below a multiple of 16, as the ABI says. */
    *--words = reinterpret_cast<void *>(entry);
    for (int index = 0; index < PRESERVED; index++) {
        *--words = nullptr;
    }
    fiber->stack_pointer = words;
}

static void switch_stacks(struct emulator_fiber *from, struct emulator_fiber *to)
{
    emulator_switch_stacks(&from->stack_pointer, to->stack_pointer);
}

#else

#include <ucontext.h>

static void prepare(struct emulator_fiber *fiber, void (*entry)(void), size_t)
{
    ucontext_t *context = new ucontext_t;
    if (getcontext(context) != 0) {
        abort();
    }
    context->uc_stack.ss_sp = fiber->stack;
    context->uc_stack.ss_size = fiber->stack_bytes;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    fiber->stack_pointer = context;
}

static void switch_stacks(struct emulator_fiber *from, struct emulator_fiber *to)
{
    if (from->stack_pointer == nullptr) {
        from->stack_pointer = new ucontext_t; /* The caller's own; kept for the next switch. */
    }
    swapcontext(static_cast<ucontext_t *>(from->stack_pointer),
                static_cast<ucontext_t *>(to->stack_pointer));
}

#endif

void emulator_fiber_create(struct emulator_fiber *fiber, void (*entry)(void), size_t colour)
{
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    char *memory = static_cast<char *>(mmap(nullptr, STACK_BYTES + page, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
        perror("cuda emulator: no stack for a thread of a kernel");
        abort();
    }
    *fiber = emulator_fiber();
    fiber->stack = memory + page; /* An overflow runs into the page below. */
    fiber->stack_bytes = STACK_BYTES;
    prepare(fiber, entry, colour);
}

void emulator_fiber_entered(void)
{
#ifdef EMULATOR_HAS_ADDRESS_SANITIZER
    const void *bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    left->stack = const_cast<void *>(bottom);
    left->stack_bytes = bytes;
#endif
}

void emulator_fiber_switch(struct emulator_fiber *from, struct emulator_fiber *to)
{
    left = from;
#ifdef EMULATOR_HAS_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&from->sanitizer_stack, to->stack, to->stack_bytes);
#endif
    switch_stacks(from, to);
#ifdef EMULATOR_HAS_ADDRESS_SANITIZER
    const void *bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(from->sanitizer_stack, &bottom, &bytes);
    left->stack = const_cast<void *>(bottom);
    left->stack_bytes = bytes;
#endif
}
