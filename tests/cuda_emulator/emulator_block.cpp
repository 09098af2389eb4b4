/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_block.cpp - one block: a fiber for each thread, which runs until it
 * waits for others.
 *
 * A thread leaves the processor only in a collective of its warp, at a barrier, or by yielding. It
 * then hands over to the next that can run, first within its warp. Nobody can run and not all have
 * returned: that is a deadlock, and the process ends with who waits where. Thread: fibers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "emulator.h"
#include "emulator_fiber.h"

enum { WARP = 32, WARPS_MAX = 32, BARRIERS = 16, YIELDS_ALONE_MAX = 1 << 20 };

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/* Lanes that wait together. */
struct group {
    const char *name;
    uint32_t mask, arrived;
    emulated_complete complete;
    void *operands[WARP];
};

struct warp {
    uint32_t runnable, exited; /* Bits of lanes. */
    unsigned int group_count;
    struct group groups[WARP];
};

struct barrier {
    const char *name; /* NULL: nobody waits. */
    unsigned int arrived, expected; /* expected 0: all that have not returned. */
    unsigned int votes;             /* Arrivals whose predicate was not 0. */
    uint32_t waiting[WARPS_MAX];
    struct emulated_votes result;
};

struct thread {
    struct emulator_fiber fiber;
    uint3 index;
};

static struct {
    const char *kernel;
    const std::function<void()> *work;
    unsigned char *shared;
    unsigned int thread_count, warp_count, exited;
    unsigned int current; /* Thread. */
    unsigned int yields_alone;
    bool reverse;
    struct warp warps[WARPS_MAX];
    struct barrier barriers[BARRIERS];
    struct emulator_fiber caller;
    std::vector<thread> threads; /* Made when first needed, then kept. */
} block;

/* ---- Messages ---------------------------------------------------------------------------- */

static void print_place(void)
{
    fprintf(stderr, "cuda emulator: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): ",
            block.kernel, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y,
            threadIdx.z);
}

static void print_warp(unsigned int index)
{
    const struct warp *warp = &block.warps[index];
    fprintf(stderr, "  warp %u: returned %08x", index, warp->exited);
    for (unsigned int at = 0; at < warp->group_count; at++) {
        const struct group *group = &warp->groups[at];
        fprintf(stderr, "; %08x in %s(mask %08x)", group->arrived, group->name, group->mask);
    }
    for (unsigned int number = 0; number < BARRIERS; number++) {
        const struct barrier *barrier = &block.barriers[number];
        if (barrier->name != NULL && barrier->waiting[index] != 0) {
            fprintf(stderr, "; %08x in %s (barrier %u)", barrier->waiting[index], barrier->name,
                    number);
        }
    }
    fprintf(stderr, "\n");
}

void emulated_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_place();
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    for (unsigned int index = 0; index < block.warp_count; index++) {
        print_warp(index);
    }
    fflush(stderr);
    abort();
}

/* ---- Who runs next ----------------------------------------------------------------------- */

unsigned int emulated_lane(void)
{
    return block.current % WARP;
}

unsigned char *emulated_dynamic_shared(void)
{
    return block.shared;
}

static unsigned int lane_of(uint32_t runnable)
{
    return static_cast<unsigned int>(block.reverse ? 31 - __builtin_clz(runnable)
                                                   : __builtin_ctz(runnable));
}

/* The next thread that can run, the current warp's first; false when there is none. */
static bool find_next(unsigned int *next_out)
{
    unsigned int index = block.current / WARP;
    for (unsigned int tried = 0; tried < block.warp_count; tried++) {
        const uint32_t runnable = block.warps[index].runnable;
        if (runnable != 0) {
            *next_out = index * WARP + lane_of(runnable);
            return true;
        }
        if (block.reverse) {
            index = (index == 0 ? block.warp_count : index) - 1;
        } else {
            index = index + 1 == block.warp_count ? 0 : index + 1;
        }
    }
    return false;
}

static void run_thread(struct emulator_fiber *from, unsigned int next)
{
    struct thread *thread = &block.threads[next];
    block.current = next;
    threadIdx = thread->index;
    emulator_fiber_switch(from, &thread->fiber);
}

/* Leaves the current thread, which waits. */
static void leave(void)
{
    struct emulator_fiber *from = &block.threads[block.current].fiber;
    unsigned int next = 0;
    if (!find_next(&next)) {
        emulated_fail("deadlock: no thread of the block can run");
    }
    run_thread(from, next);
}

void cuda_emulator_yield(void)
{
    for (unsigned int step = 1; step < block.thread_count; step++) {
        const unsigned int next = (block.current + step) % block.thread_count;
        if ((block.warps[next / WARP].runnable >> next % WARP & 1u) != 0) {
            block.yields_alone = 0;
            run_thread(&block.threads[block.current].fiber, next);
            return;
        }
    }
    if (++block.yields_alone > YIELDS_ALONE_MAX) {
        emulated_fail("the only thread that can run waits for another one");
    }
}

/* ---- Collectives of a warp --------------------------------------------------------------- */

/* Lets a group go if everybody is there. */
static bool complete_group(struct warp *warp, unsigned int at)
{
    struct group *group = &warp->groups[at];
    if (group->arrived != (group->mask & ~warp->exited)) {
        return false;
    }
    group->complete(group->operands, group->arrived);
    warp->runnable |= group->arrived;
    *group = warp->groups[--warp->group_count];
    return true;
}

static bool is_same_name(const char *left, const char *right)
{
    return left == right || strcmp(left, right) == 0;
}

static unsigned int join_group(struct warp *warp, const char *name, uint32_t mask,
                               emulated_complete complete)
{
    const uint32_t self = 1u << block.current % WARP;
    for (unsigned int at = 0; at < warp->group_count; at++) {
        const struct group *group = &warp->groups[at];
        if (group->mask == mask && is_same_name(group->name, name)) {
            return at;
        }
        if ((group->mask & self) != 0 && (group->arrived & mask) != 0) {
            emulated_fail("divergence: this thread comes to %s(mask %08x), others of its warp wait "
                          "for it in %s(mask %08x)",
                          name, mask, group->name, group->mask);
        }
    }
    struct group *group = &warp->groups[warp->group_count];
    group->name = name;
    group->mask = mask;
    group->arrived = 0;
    group->complete = complete;
    return warp->group_count++;
}

void emulated_warp_collective(const char *name, uint32_t mask, void *operand,
                              emulated_complete complete)
{
    struct warp *warp = &block.warps[block.current / WARP];
    const unsigned int lane = block.current % WARP;
    const uint32_t self = 1u << lane;
    if ((mask & self) == 0) {
        emulated_fail("%s: the mask %08x does not name the caller, lane %u", name, mask, lane);
    }
    const unsigned int at = join_group(warp, name, mask, complete);
    warp->groups[at].arrived |= self;
    warp->groups[at].operands[lane] = operand;
    warp->runnable &= ~self;
    if (!complete_group(warp, at)) {
        leave();
    }
}

/* ---- Barriers ---------------------------------------------------------------------------- */

static bool complete_barrier(struct barrier *barrier)
{
    const unsigned int live = block.thread_count - block.exited;
    const unsigned int expected = barrier->expected == 0 ? live : barrier->expected;
    if (barrier->name == NULL || barrier->arrived < expected) {
        return false;
    }
    barrier->result.any = barrier->votes > 0;
    barrier->result.all = barrier->votes == barrier->arrived;
    barrier->result.count = static_cast<int>(barrier->votes);
    for (unsigned int index = 0; index < block.warp_count; index++) {
        block.warps[index].runnable |= barrier->waiting[index];
        barrier->waiting[index] = 0;
    }
    barrier->name = NULL;
    barrier->arrived = 0;
    barrier->votes = 0;
    return true;
}

static void arrive(struct barrier *barrier, const char *name, unsigned int expected)
{
    if (barrier->name == NULL) {
        barrier->name = name;
        barrier->expected = expected;
    } else if (!is_same_name(barrier->name, name) || barrier->expected != expected) {
        emulated_fail("divergence: this thread comes to %s of %u, others wait in %s of %u", name,
                      expected, barrier->name, barrier->expected);
    }
    barrier->arrived++;
}

static void wait_at(struct barrier *barrier)
{
    const uint32_t self = 1u << block.current % WARP;
    barrier->waiting[block.current / WARP] |= self;
    block.warps[block.current / WARP].runnable &= ~self;
    if (!complete_barrier(barrier)) {
        leave();
    }
}

struct emulated_votes emulated_block_barrier(const char *name, int predicate)
{
    struct barrier *barrier = &block.barriers[0];
    arrive(barrier, name, 0);
    barrier->votes += predicate != 0;
    wait_at(barrier);
    /* Nobody can come to the next one before this thread does. */
    return barrier->result;
}

static struct barrier *numbered_barrier(unsigned int number, unsigned int thread_count)
{
    if (number == 0 || number >= BARRIERS || thread_count == 0 || thread_count % WARP != 0 ||
        thread_count > block.thread_count) {
        emulated_fail("barrier %u of %u threads", number, thread_count);
    }
    struct barrier *barrier = &block.barriers[number];
    arrive(barrier, "bar", thread_count);
    return barrier;
}

void cuda_emulator_barrier_sync(unsigned int number, unsigned int thread_count)
{
    wait_at(numbered_barrier(number, thread_count));
}

void cuda_emulator_barrier_arrive(unsigned int number, unsigned int thread_count)
{
    complete_barrier(numbered_barrier(number, thread_count));
}

/* ---- A thread's life --------------------------------------------------------------------- */

/* Those who wait need not wait for this thread any more. */
static void note_return(void)
{
    struct warp *warp = &block.warps[block.current / WARP];
    const uint32_t self = 1u << block.current % WARP;
    warp->exited |= self;
    warp->runnable &= ~self;
    block.exited++;
    for (unsigned int at = 0; at < warp->group_count;) {
        if (!complete_group(warp, at)) {
            at++;
        }
    }
    complete_barrier(&block.barriers[0]);
}

static void thread_main(void)
{
    emulator_fiber_entered();
    for (;;) {
        (*block.work)();
        struct emulator_fiber *self = &block.threads[block.current].fiber;
        note_return();
        if (block.exited == block.thread_count) {
            emulator_fiber_switch(self, &block.caller);
        } else {
            leave();
        }
        /* The next block begins. */
    }
}

static void make_threads(unsigned int count)
{
    enum { COLOURS = 61, COLOUR_BYTES = 64 };
    block.threads.reserve(WARP * WARPS_MAX); /* Fibers must not move. */
    while (block.threads.size() < count) {
        block.threads.emplace_back();
        emulator_fiber_create(&block.threads.back().fiber, thread_main,
                              block.threads.size() % COLOURS * COLOUR_BYTES);
    }
}

static void make_ready(dim3 size)
{
    block.thread_count = size.x * size.y * size.z;
    block.warp_count = (block.thread_count + WARP - 1) / WARP;
    block.exited = 0;
    block.yields_alone = 0;
    for (unsigned int index = 0; index < block.warp_count; index++) {
        const unsigned int lanes = block.thread_count - index * WARP;
        struct warp *warp = &block.warps[index];
        warp->runnable = lanes >= WARP ? 0xffffffffu : (1u << lanes) - 1u;
        warp->exited = ~warp->runnable; /* Lanes that are not there. */
        warp->group_count = 0;
    }
    for (unsigned int thread = 0; thread < block.thread_count; thread++) {
        block.threads[thread].index =
            uint3{thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
    }
    memset(block.barriers, 0, sizeof block.barriers);
}

void emulator_run_block(const char *kernel, dim3 grid, dim3 size, uint3 index,
                        unsigned char *shared, const std::function<void()> &thread_work)
{
    block.kernel = kernel;
    block.work = &thread_work;
    block.shared = shared;
    block.reverse = emulator_is_reverse();
    gridDim = grid;
    blockDim = size;
    blockIdx = index;
    make_threads(size.x * size.y * size.z);
    make_ready(size);
    run_thread(&block.caller, block.reverse ? block.thread_count - 1 : 0);
    for (unsigned int number = 1; number < BARRIERS; number++) {
        if (block.barriers[number].name != NULL) {
            emulated_fail("the block ended while barrier %u has arrivals", number);
        }
    }
}
