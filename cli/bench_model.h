/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_model.h - models of the official shapes with random weights, made in memory.
 *
 * No file is read or written. The numbers mean nothing, but their sizes are such that activations
 * stay finite and the distribution over tokens is about as peaked as a language model's.
 * Thread: main. */
#pragma once

#include "engine/model_spec.h"

/* A made-up model. Zeroed is valid to bench_model_deinit. */
struct bench_model {
    struct model_spec spec;
    struct tensor *tensors; /* [tensor_count], owned. */
    size_t tensor_count;
    void *bytes;            /* All weights, bf16; owned. */
    size_t byte_count;
};

/* "0.1b, 0.4b, ...": the sizes there are, for messages. */
const char *bench_model_sizes(void);

/* Makes the model of that size; of the channels of the channel mix, ffn_zeros (0.5 to 0.99) are
 * zero after the activation. `shares`: tensors filled alike have the same bytes, which is quick to
 * make and fair only to a backend that copies its weights. Shows progress. INVALID_ARGUMENT: no
 * such size. OUT_OF_MEMORY: also when the weights are more than this machine's memory. */
WARN_UNUSED enum error_code bench_model_make(const char *size, double ffn_zeros, bool shares,
                                             struct bench_model *model, struct error *error);
void bench_model_deinit(struct bench_model *model);
