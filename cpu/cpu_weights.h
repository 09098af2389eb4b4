/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_weights.h - a model's tensors as the kernels want them.
 *
 * Large matrices stay where they are, in the mapped file at 2 bytes a weight; copied are only
 * vectors (widened to f32), the low-rank matrices (transposed to [out][in]) and what is unaligned.
 * Thread: immutable after cpu_weights_open. */
#pragma once

#include "base/error.h"
#include "cpu/cpu_kernels.h"
#include "engine/model_spec.h"

/* One layer. Vectors are [C] unless a comment says otherwise; matrices [outputs][inputs]. */
struct cpu_layer {
    const float *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;
    const float *mix[6]; /* x_r, x_w, x_k, x_v, x_a, x_g: the order of the mixed inputs. */
    const float *w0, *a0, *v0; /* v0 NULL in layer 0. */
    struct cpu_matrix w1, w2, a1, a2, v1, v2, g1, g2;
    const float *k_k, *k_a, *r_k;
    struct cpu_matrix receptance, key, value, output; /* [C][C] */
    const float *ln_x_weight, *ln_x_bias;
    const float *ffn_x_k;
    struct cpu_matrix ffn_key;   /* [F][C] */
    struct cpu_matrix ffn_value; /* [C][F] */
};

struct cpu_weights {
    const struct model_spec *spec; /* Borrowed. */
    const float *ln0_weight, *ln0_bias, *ln_out_weight, *ln_out_bias;
    struct cpu_matrix head;    /* [V][C] */
    struct cpu_layer *layers;  /* [L] */
    void *memory;              /* Of all copies, layer after layer. */
    size_t copied_bytes;
};

/* The spec and its file must outlive the weights. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code cpu_weights_open(const struct model_spec *spec,
                                             struct cpu_weights *weights_out,
                                             struct error *error);
void cpu_weights_close(struct cpu_weights *weights);
