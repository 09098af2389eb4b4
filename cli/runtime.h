/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/runtime.h - model, vocabulary and device, opened as the configuration says.
 *
 * runtime_device.c is the only place that knows which backends exist. Thread: main. */
#pragma once

#include "cli/commands.h"
#include "engine/backend.h"
#include "engine/chat_template.h"
#include "engine/model_spec.h"
#include "engine/tokenizer.h"
#include "engine/tuned_state.h"

struct runtime {
    struct model_file *file;
    struct model_spec spec;
    struct tuned_state initial_state; /* Of every new sequence; zeroed: zeros. */
    struct tokenizer *tokenizer;
    struct backend *backend;        /* NULL after runtime_open_tokenizer. */
    bool is_gosling;                /* The built-in model. */
    char model_id[256];
    enum chat_template chat_template;
    double temperature, top_p;      /* Of requests that name none. */
};

/* Opens all. NOT_FOUND, CORRUPT, TOO_LARGE: model or vocabulary. DEVICE: the one asked for is
 * not there. OUT_OF_MEMORY. The message says what to do; runtime_close may still be called. */
WARN_UNUSED enum error_code runtime_open(const struct config *config, struct runtime *runtime,
                                         struct error *error);

/* Opens the vocabulary alone, by the same search. */
WARN_UNUSED enum error_code runtime_open_tokenizer(const struct config *config,
                                                   struct runtime *runtime,
                                                   struct error *error);
void runtime_close(struct runtime *runtime);

/* Opens the model's file and nothing else; `path` NULL: the built-in one. */
WARN_UNUSED enum error_code runtime_open_model(const char *path, struct runtime *runtime,
                                               struct error *error);

/* Opens the device alone, for any model and vocabulary, as runtime_open does. DEVICE.
 * OUT_OF_MEMORY. */
WARN_UNUSED enum error_code runtime_open_backend(const struct config *config,
                                                 const struct model_spec *spec,
                                                 const struct sampling_vocabulary *vocabulary,
                                                 struct backend **backend_out,
                                                 struct error *error);

/* Whether that will be the CUDA device; false: *error says why, unless the CPU was asked for. */
bool runtime_uses_cuda(const struct config *config, struct error *error);

/* --threads, or as many as this process may run on. */
uint32_t runtime_thread_count(const struct config *config);

/* Rows of a step of the CPU backend with so many slots. */
uint32_t runtime_step_rows(uint32_t slot_count);

/* Reads the tuned state that --state names, or the model's own, if it has one. */
WARN_UNUSED enum error_code runtime_open_initial_state(const struct config *config,
                                                       struct runtime *runtime,
                                                       struct error *error);

/* Where the World vocabulary for that model lies: beside it, beside the binary, or installed. */
bool runtime_find_vocabulary(const char *model, char *path, size_t capacity);

/* --verify: compares the weights' checksums, says so in the log, and goes on whatever it finds.
 * Returns how many differ. */
uint32_t runtime_verify(const struct runtime *runtime);

/* Reads a large model's file into memory, with a line of progress when that takes long. */
void runtime_warm_up(const struct runtime *runtime);
