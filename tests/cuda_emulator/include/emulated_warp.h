/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/emulated_warp.h - shuffles, votes and reductions of a warp.
 *
 * Thread: fibers of a block. */
#pragma once

#include <stdint.h>

#include <type_traits>

#include "emulated_block.h"

static inline void __syncwarp(unsigned int mask = 0xffffffffu)
{
    emulated_warp_collective("__syncwarp", mask, nullptr, [](void *const *, uint32_t) {});
}

/* ---- Shuffles ---------------------------------------------------------------------------- */

template <typename T> struct emulated_shuffle {
    T given, taken;
    int source; /* Lane. */
};

template <typename T> void emulated_complete_shuffle(void *const operands[32], uint32_t arrived)
{
    for (int lane = 0; lane < 32; lane++) {
        if ((arrived >> lane & 1u) == 0) {
            continue;
        }
        emulated_shuffle<T> *mine = static_cast<emulated_shuffle<T> *>(operands[lane]);
        if ((arrived >> mine->source & 1u) == 0) {
            emulated_fail("lane %d shuffles from lane %d, which takes no part", lane,
                          mine->source);
        }
        mine->taken = static_cast<emulated_shuffle<T> *>(operands[mine->source])->given;
    }
}

template <typename T>
T emulated_shuffle_from(const char *name, unsigned int mask, T value, int source)
{
    static_assert(std::is_trivially_copyable<T>::value && (sizeof(T) == 4 || sizeof(T) == 8 ||
                                                           sizeof(T) == 2),
                  "the device shuffles 2, 4 or 8 bytes");
    emulated_shuffle<T> operand = {value, value, source};
    emulated_warp_collective(name, mask, &operand, emulated_complete_shuffle<T>);
    return operand.taken;
}

/* First lane of the segment that this lane belongs to. */
static inline int emulated_segment(int width)
{
    if (width <= 0 || width > 32 || (width & (width - 1)) != 0) {
        emulated_fail("a shuffle of width %d", width);
    }
    return static_cast<int>(emulated_lane()) & ~(width - 1);
}

template <typename T> T __shfl_sync(unsigned int mask, T value, int source, int width = 32)
{
    const int first = emulated_segment(width);
    return emulated_shuffle_from("__shfl_sync", mask, value, first + (source & (width - 1)));
}

template <typename T> T __shfl_up_sync(unsigned int mask, T value, unsigned int delta,
                                       int width = 32)
{
    const int lane = static_cast<int>(emulated_lane());
    const int source = lane - static_cast<int>(delta);
    return emulated_shuffle_from("__shfl_up_sync", mask, value,
                                 source < emulated_segment(width) ? lane : source);
}

template <typename T> T __shfl_down_sync(unsigned int mask, T value, unsigned int delta,
                                         int width = 32)
{
    const int lane = static_cast<int>(emulated_lane());
    const int source = lane + static_cast<int>(delta);
    return emulated_shuffle_from("__shfl_down_sync", mask, value,
                                 source >= emulated_segment(width) + width ? lane : source);
}

template <typename T> T __shfl_xor_sync(unsigned int mask, T value, int lane_mask, int width = 32)
{
    const int lane = static_cast<int>(emulated_lane());
    const int source = lane ^ lane_mask;
    return emulated_shuffle_from("__shfl_xor_sync", mask, value,
                                 source >= emulated_segment(width) + width ? lane : source);
}

/* ---- Votes and reductions ---------------------------------------------------------------- */

/* Integers that all lanes give and a function of them that all get. */
struct emulated_reduction {
    unsigned int value;
};

template <typename Function>
unsigned int emulated_reduce(const char *name, unsigned int mask, unsigned int value, Function)
{
    emulated_reduction operand = {value};
    emulated_warp_collective(name, mask, &operand, [](void *const *operands, uint32_t arrived) {
        const unsigned int result = Function::of(operands, arrived);
        for (int lane = 0; lane < 32; lane++) {
            if ((arrived >> lane & 1u) != 0) {
                static_cast<emulated_reduction *>(operands[lane])->value = result;
            }
        }
    });
    return operand.value;
}

/* The lanes that gave something other than 0. */
struct emulated_ballot_of {
    static unsigned int of(void *const *operands, uint32_t arrived)
    {
        unsigned int set = 0;
        for (unsigned int lane = 0; lane < 32; lane++) {
            if ((arrived >> lane & 1u) != 0 &&
                static_cast<emulated_reduction *>(operands[lane])->value != 0) {
                set |= 1u << lane;
            }
        }
        return set;
    }
};

static inline unsigned int __ballot_sync(unsigned int mask, int predicate)
{
    return emulated_reduce("__ballot_sync", mask, predicate != 0, emulated_ballot_of());
}

static inline int __any_sync(unsigned int mask, int predicate)
{
    return emulated_reduce("__any_sync", mask, predicate != 0, emulated_ballot_of()) != 0;
}

static inline int __all_sync(unsigned int mask, int predicate)
{
    return emulated_reduce("__all_sync", mask, predicate == 0, emulated_ballot_of()) == 0;
}

#define EMULATED_REDUCTION(name, type, expression)                                                \
    struct emulated_##name##_##type {                                                             \
        static unsigned int of(void *const *operands, uint32_t arrived)                           \
        {                                                                                         \
            bool is_first = true;                                                                 \
            type a = 0;                                                                           \
            for (unsigned int lane = 0; lane < 32; lane++) {                                      \
                if ((arrived >> lane & 1u) != 0) {                                                \
                    const type b = static_cast<type>(                                             \
                        static_cast<emulated_reduction *>(operands[lane])->value);                \
                    a = is_first ? b : static_cast<type>(expression);                             \
                    is_first = false;                                                             \
                }                                                                                 \
            }                                                                                     \
            return static_cast<unsigned int>(a);                                                  \
        }                                                                                         \
    };                                                                                            \
    static inline type name(unsigned int mask, type value)                                        \
    {                                                                                             \
        return static_cast<type>(emulated_reduce(#name, mask, static_cast<unsigned int>(value),   \
                                                 emulated_##name##_##type()));                    \
    }

/* The device adds modulo 2^32, whatever the sign. */
EMULATED_REDUCTION(__reduce_add_sync, unsigned, a + b)
EMULATED_REDUCTION(__reduce_add_sync, int, static_cast<unsigned>(a) + static_cast<unsigned>(b))
EMULATED_REDUCTION(__reduce_min_sync, unsigned, a < b ? a : b)
EMULATED_REDUCTION(__reduce_min_sync, int, a < b ? a : b)
EMULATED_REDUCTION(__reduce_max_sync, unsigned, a > b ? a : b)
EMULATED_REDUCTION(__reduce_max_sync, int, a > b ? a : b)
EMULATED_REDUCTION(__reduce_and_sync, unsigned, a & b)
EMULATED_REDUCTION(__reduce_or_sync, unsigned, a | b)
EMULATED_REDUCTION(__reduce_xor_sync, unsigned, a ^ b)
