/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_spec.h - what an RWKV-7 (x070) model is: shape letters, and its tensors.
 *
 * Shape letters used in every comment of the engine and the backends:
 *   B sequences of a step   T tokens of one sequence in a step   R rows of a step (sum of T)
 *   V vocabulary rows   L layers   C channels (hidden size)   H heads   N head size (64)
 *   F channels of the channel mix
 * Everything is read from shapes, never from a name. Thread: immutable after model_spec_read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/model_file.h"

enum { MODEL_HEAD_SIZE = 64 }; /* N. Another head size would need another GroupNorm epsilon. */

/* X(field, name, rows, columns): the tensors of one layer, names below "blocks.<i>."; shapes are
 * [rows][columns], columns 1 for a vector (also stored as [1,1,C]). The low-rank matrices are in
 * the official orientation [in][out]. value_* exist from layer 1 on; layer 0 ignores them. */
#define MODEL_LAYER_TENSORS(X)                          \
    X(ln1_weight, "ln1.weight", C, 1)                   \
    X(ln1_bias, "ln1.bias", C, 1)                       \
    X(ln2_weight, "ln2.weight", C, 1)                   \
    X(ln2_bias, "ln2.bias", C, 1)                       \
    X(x_r, "att.x_r", C, 1)                             \
    X(x_w, "att.x_w", C, 1)                             \
    X(x_k, "att.x_k", C, 1)                             \
    X(x_v, "att.x_v", C, 1)                             \
    X(x_a, "att.x_a", C, 1)                             \
    X(x_g, "att.x_g", C, 1)                             \
    X(w0, "att.w0", C, 1)                               \
    X(w1, "att.w1", C, rank_w)                          \
    X(w2, "att.w2", rank_w, C)                          \
    X(a0, "att.a0", C, 1)                               \
    X(a1, "att.a1", C, rank_a)                          \
    X(a2, "att.a2", rank_a, C)                          \
    X(v0, "att.v0", C, 1)                               \
    X(v1, "att.v1", C, rank_v)                          \
    X(v2, "att.v2", rank_v, C)                          \
    X(g1, "att.g1", C, rank_g)                          \
    X(g2, "att.g2", rank_g, C)                          \
    X(k_k, "att.k_k", C, 1)                             \
    X(k_a, "att.k_a", C, 1)                             \
    X(r_k, "att.r_k", H, N)                             \
    X(receptance, "att.receptance.weight", C, C)        \
    X(key, "att.key.weight", C, C)                      \
    X(value, "att.value.weight", C, C)                  \
    X(output, "att.output.weight", C, C)                \
    X(ln_x_weight, "att.ln_x.weight", C, 1)             \
    X(ln_x_bias, "att.ln_x.bias", C, 1)                 \
    X(ffn_x_k, "ffn.x_k", C, 1)                         \
    X(ffn_key, "ffn.key.weight", F, C)                  \
    X(ffn_value, "ffn.value.weight", C, F)

/* The tensors outside the layers. */
#define MODEL_TENSORS(X)                                \
    X(emb, "emb.weight", V, C)                          \
    X(ln0_weight, "blocks.0.ln0.weight", C, 1)          \
    X(ln0_bias, "blocks.0.ln0.bias", C, 1)              \
    X(ln_out_weight, "ln_out.weight", C, 1)             \
    X(ln_out_bias, "ln_out.bias", C, 1)                 \
    X(head, "head.weight", V, C)

struct model_layer {
#define X(field, name, rows, columns) const struct tensor *field;
    MODEL_LAYER_TENSORS(X)
#undef X
    const struct tensor *time_state; /* "att.time_state" [H][N value][N key]: the S of new sequences
                                        of a state-tuned model; NULL: zeros. All layers or none. */
};

/* A model: its numbers and where its tensors are in the file. */
struct model_spec {
    uint32_t V, L, C, H, N, F;
    uint32_t rank_w, rank_a, rank_v, rank_g;
    uint64_t parameter_count;
    uint64_t fingerprint; /* Of names, types, shapes, a sample of the bytes: tells models apart. */
#define X(field, name, rows, columns) const struct tensor *field;
    MODEL_TENSORS(X)
#undef X
    struct model_layer *layers; /* [L], owned. v0, v1, v2 are NULL in layer 0. */
};

/* Finds and checks every tensor. CORRUPT: a tensor is missing, unknown or misshapen, or this is
 * another architecture; the message names file, key, found and expected shape, and ends with
 * "supported: RWKV-7 x070". The file must outlive the spec. */
WARN_UNUSED enum error_code model_spec_read(const struct model_file *file,
                                            struct model_spec *spec_out, struct error *error);
void model_spec_deinit(struct model_spec *spec);

/* Floats of one sequence's state: per layer att_prev[C], S[H][value N][key N], ffn_prev[C]. */
size_t model_spec_state_floats(const struct model_spec *spec);

/* Writes the state that new sequences of this model begin with, in the layout of a backend's
 * snapshot: state_out[model_spec_state_floats]. Returns false, and writes zeros, when the file
 * holds no tuned state: pass NULL to backend_slot_start then. */
bool model_spec_initial_state(const struct model_spec *spec, float *state_out);
