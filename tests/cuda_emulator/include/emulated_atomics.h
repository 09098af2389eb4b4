/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/emulated_atomics.h - atomics on integers, and loads and stores with
 * a word about caches. Floats have none: their sums would depend on the order.
 *
 * Thread: fibers of a block; one runs at a time, so plain operations are atomic. */
#pragma once

#include <type_traits>

template <typename T> struct emulated_plain {
    typedef T type; /* Takes part in no deduction: a constant of another type converts. */
};

#define EMULATED_ATOMIC(name, expression)                                                         \
    template <typename T> T name(T *address, typename emulated_plain<T>::type b)                  \
    {                                                                                             \
        static_assert(std::is_integral<T>::value && (sizeof(T) == 4 || sizeof(T) == 8),           \
                      "atomics are for integers of 32 and 64 bits");                              \
        typedef typename std::make_unsigned<T>::type U;                                           \
        const T old = *address;                                                                   \
        const U a = static_cast<U>(old);                                                          \
        (void)a;                                                                                  \
        *address = static_cast<T>(expression);                                                    \
        return old;                                                                               \
    }

EMULATED_ATOMIC(atomicAdd, a + static_cast<U>(b))
EMULATED_ATOMIC(atomicSub, a - static_cast<U>(b))
EMULATED_ATOMIC(atomicExch, b)
EMULATED_ATOMIC(atomicMin, old < b ? old : b)
EMULATED_ATOMIC(atomicMax, old > b ? old : b)
EMULATED_ATOMIC(atomicAnd, a & static_cast<U>(b))
EMULATED_ATOMIC(atomicOr, a | static_cast<U>(b))
EMULATED_ATOMIC(atomicXor, a ^ static_cast<U>(b))
EMULATED_ATOMIC(atomicInc, a >= static_cast<U>(b) ? 0 : a + 1)

template <typename T>
T atomicCAS(T *address, typename emulated_plain<T>::type compare,
            typename emulated_plain<T>::type value)
{
    static_assert(std::is_integral<T>::value, "atomics are for integers");
    const T old = *address;
    if (old == compare) {
        *address = value;
    }
    return old;
}

#define EMULATED_LOAD(name)                                                                       \
    template <typename T> T name(const T *address)                                                \
    {                                                                                             \
        return *address;                                                                          \
    }
#define EMULATED_STORE(name)                                                                      \
    template <typename T> void name(T *address, typename emulated_plain<T>::type value)           \
    {                                                                                             \
        *address = value;                                                                         \
    }

EMULATED_LOAD(__ldg)
EMULATED_LOAD(__ldca)
EMULATED_LOAD(__ldcg)
EMULATED_LOAD(__ldcs)
EMULATED_LOAD(__ldcv)
EMULATED_LOAD(__ldlu)
EMULATED_STORE(__stwb)
EMULATED_STORE(__stcg)
EMULATED_STORE(__stcs)
EMULATED_STORE(__stwt)
