/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_backend.h - opens the CPU implementation of engine/backend.h.
 *
 * Everything after opening goes through that interface. Thread: the engine's. */
#pragma once

#include "base/error.h"
#include "cpu/cpu_kernels.h"
#include "engine/backend.h"
#include "engine/model_spec.h"

/* Takes all memory: states, samplers, activations, threads. options->vocabulary.row_count is V.
 * The spec, its file and the vocabulary must outlive the backend. A step is computed within
 * backend_submit, so one step is in flight at most. OUT_OF_MEMORY: the message says for what. */
WARN_UNUSED enum error_code cpu_backend_open(const struct model_spec *spec,
                                             const struct backend_options *options,
                                             struct backend **backend_out, struct error *error);

/* As cpu_backend_open with kernels of the caller's choice, for tests and benchmarks. */
WARN_UNUSED enum error_code cpu_backend_open_with(const struct model_spec *spec,
                                                  const struct backend_options *options,
                                                  const struct cpu_kernels *kernels,
                                                  struct backend **backend_out,
                                                  struct error *error);
