/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/tuned_state.h - the state that every new sequence begins with, when it is not zeros.
 *
 * State tuning trains blocks.*.att.time_state, [H][N][N] in each layer; they come in a file of
 * their own or within the model's. Both shifts stay zero. Thread: immutable after tuned_state_open.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "engine/model_spec.h"

/* Order of the last two dimensions of a time_state: [value][key], as Skein has it, or [key][value].
 * AUTO: [value][key] in .pth files and models of the official orientation, [key][value] in
 * .safetensors state files and models with transposed low-rank matrices (web-rwkv, fla). */
enum tuned_state_layout { TUNED_STATE_AUTO, TUNED_STATE_VALUE_KEY, TUNED_STATE_KEY_VALUE };

/* Zeroed: new sequences begin with zeros. */
struct tuned_state {
    float *state;                   /* A backend's snapshot (model_spec_state_floats), or NULL. */
    enum tuned_state_layout layout; /* The one taken: never AUTO when there is a state. */
};

/* Reads `path`, or the states within the model's own file when path is NULL (there may be none).
 * CORRUPT, TOO_LARGE, NOT_FOUND, IO: as model_file_open; also a tensor that is missing, of another
 * shape than the model needs, no part of a state, or not finite. */
WARN_UNUSED enum error_code tuned_state_open(const char *path, const struct model_file *model,
                                             const struct model_spec *spec,
                                             enum tuned_state_layout layout,
                                             struct tuned_state *tuned_out, struct error *error);
void tuned_state_close(struct tuned_state *tuned);
