/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/progress.c - when to say how far it is, and where. */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define NS_PER_SECOND UINT64_C(1000000000)

static const uint64_t quiet_ns = 1 * NS_PER_SECOND;
static const uint64_t terminal_interval_ns = NS_PER_SECOND / 5;
static const uint64_t log_interval_ns = 10 * NS_PER_SECOND;

static uint64_t now_ns(void)
{
    const struct clock clock = {0};
    return clock_monotonic_ns(&clock);
}

void progress_begin(struct progress *progress, const char *what)
{
    *progress = (struct progress){
        .what = what, .started_ns = now_ns(), .is_terminal = isatty(STDERR_FILENO) == 1};
}

void progress_report(void *context, size_t done_bytes, size_t total_bytes)
{
    struct progress *progress = context;
    const uint64_t now = now_ns();
    const uint64_t interval = progress->is_terminal ? terminal_interval_ns : log_interval_ns;
    if (now - progress->started_ns < quiet_ns ||
        (progress->shown_ns != 0 && now - progress->shown_ns < interval)) {
        return;
    }
    progress->shown_ns = now;
    if (progress->is_terminal) {
        fprintf(stderr, "\rskein: %s: %.1f of %.1f GB ", progress->what, (double)done_bytes * 1e-9,
                (double)total_bytes * 1e-9);
        fflush(stderr);
        return;
    }
    log_event(LOG_INFO, "model", progress->what, LOG_I("done_bytes", done_bytes),
              LOG_I("total_bytes", total_bytes));
}

void progress_end(struct progress *progress)
{
    if (progress->is_terminal && progress->shown_ns != 0) {
        fputc('\n', stderr);
    }
}
