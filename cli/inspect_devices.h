/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/inspect_devices.h - how many sequences of a model fit on each device that is here.
 *
 * Opens none of them. Thread: main. */
#pragma once

#include "engine/model_spec.h"

enum { INSPECT_DEVICES_MAX = 2 };

struct inspect_device {
    const char *kind; /* "cpu", "cuda" */
    char name[64];
    uint64_t available_bytes; /* Memory that a process can have now. */
    uint64_t sequence_count;  /* States that fit beside the weights; at most LIMIT_SLOTS. */
};

/* Fills devices_out[INSPECT_DEVICES_MAX], the CPU first; returns how many there are. weight_bytes:
 * what the CPU needs for the weights. */
uint32_t inspect_devices(const struct model_spec *spec, size_t weight_bytes,
                         struct inspect_device *devices_out);
