/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/fake_clock.c - a clock that moves only when a test says so.
 *
 * Thread: any. */
#include "tests/fakes/fake_clock.h"

static uint64_t read_fake(void *context)
{
    struct fake_clock *fake = context;
    return atomic_load(&fake->now_ns);
}

struct clock fake_clock_view(struct fake_clock *fake)
{
    return (struct clock){.monotonic_ns = read_fake, .context = fake};
}

void fake_clock_advance_ms(struct fake_clock *fake, uint64_t ms)
{
    atomic_fetch_add(&fake->now_ns, ms * 1000000u);
}
