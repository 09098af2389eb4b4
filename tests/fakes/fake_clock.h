/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/fake_clock.h - a clock that moves only when a test says so.
 *
 * Thread: any; the test advances it while the code under test reads it. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/clock.h"

/* Zeroed is a clock at time 0. */
struct fake_clock {
    _Atomic uint64_t now_ns;
};

/* Returns a clock that reads the fake one, which must outlive it. */
struct clock fake_clock_view(struct fake_clock *fake);

void fake_clock_advance_ms(struct fake_clock *fake, uint64_t ms);
