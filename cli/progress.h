/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/progress.h - a line that says how far a long reading of a file has come.
 *
 * On a terminal one line that is written over; otherwise a log line every ten seconds. Nothing when
 * it is over within a second. Thread: main. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *what; /* "reading the model"; borrowed. */
    uint64_t started_ns;
    uint64_t shown_ns; /* 0: not yet. */
    bool is_terminal;
};

void progress_begin(struct progress *progress, const char *what);

/* A model_file_progress; the context is the struct. */
void progress_report(void *context, size_t done_bytes, size_t total_bytes);

/* Ends the line. */
void progress_end(struct progress *progress);
