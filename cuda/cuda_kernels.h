/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_kernels.h - every kernel of the CUDA backend, as the C function that launches it.
 *
 * A launcher checks shapes, chooses grid and variant, and enqueues on the step's stream; it never
 * allocates, never waits, and may be captured into a graph. What differs from step to step lies in
 * device memory (struct cuda_step), so that one captured graph serves every step of its size: grids
 * are made for `row_capacity` rows and `item_capacity` items, and blocks beyond the counts of the
 * header return. Shape letters: engine/model_spec.h; Q = padded rank of a low-rank product.
 * All pointers are device memory unless said otherwise. Thread: the engine's. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <cuda_fp16.h>
typedef __half cuda_half;
extern "C" {
#else
typedef struct {
    uint16_t bits;
} cuda_half; /* The host only moves them. */
#endif

/* ---- What a step is ---------------------------------------------------------------------- */

enum {
    CUDA_HEAD = 64,        /* N, the head size. */
    CUDA_FEW_ROWS_MAX = 4, /* Rows of the path without matrix-matrix products. */
};

/* Which input of the time mix: the order of planes, of mix vectors and of the stacked products. */
enum cuda_mix {
    CUDA_MIX_R,
    CUDA_MIX_K,
    CUDA_MIX_V,
    CUDA_MIX_W,
    CUDA_MIX_A,
    CUDA_MIX_G,
    CUDA_MIXES,
};

/* The low-rank products, in the order of their buffers. */
enum cuda_low_rank { CUDA_LOW_W, CUDA_LOW_A, CUDA_LOW_G, CUDA_LOW_V, CUDA_LOW_RANKS };

/* One sequence's share of a step, as the host writes it. */
struct cuda_item {
    uint32_t slot;         /* Advanced. */
    uint32_t source_slot;  /* Read. */
    uint32_t first_row;    /* Its rows stand together. */
    uint32_t row_count;    /* T >= 1. */
    uint32_t tokens_given; /* 0: the one row takes the token that the slot drew last, and does
                              nothing when the slot has ended. */
};

struct cuda_step_header {
    uint32_t row_count;
    uint32_t item_count;
    uint32_t logit_count; /* Rows whose logits are wanted in this pass over the head. */
    uint32_t scan_first;  /* Items before it have one row each; 0 is always right. */
};

/* What a slot is beside its state and its sampler. */
struct cuda_slot {
    int32_t last_token; /* Drawn last. */
    uint32_t ended;     /* A draw ended the row: only given tokens advance it. */
    uint32_t parity;    /* Which of the two copies of its shifts is the live one. */
    uint32_t unused;
};

/* Where an item reads and writes; made on the device by cuda_embed. Two copies of the shifts keep
 * the first row's reader apart from the last row's writer. */
struct cuda_place {
    const float *wkv_in;   /* [L][H][64 value][64 key] of the source. */
    float *wkv_out;        /* The same of the slot; may be wkv_in. */
    const float *shift_in; /* [L][2][C], att then ffn: live copy of the source. */
    float *shift_out;      /* The other copy of the slot. */
    uint32_t first_row;
    uint32_t row_count;
    uint32_t active;       /* 0: writes nothing. */
    uint32_t slot;
    uint32_t parity_out;
    uint32_t unused;
};

/* A step: borrowed pointers, by value to kernels. The first five reach the device by a copy that is
 * ordered after all kernels of the step before: kernels may read them, and the state of a slot that
 * their own step has not written, before they wait for the kernel before them. */
struct cuda_step {
    const struct cuda_step_header *header;
    const struct cuda_item *items; /* [item_capacity] */
    const uint32_t *row_item;      /* [row_capacity] Index of the item. */
    const int32_t *row_token;      /* [row_capacity] Where the item's tokens are given. */
    const uint32_t *logit_row;     /* [logit_capacity] Row of the step. */
    struct cuda_place *places;     /* [item_capacity] */
    struct cuda_slot *slots;       /* [slot_count] */
    float *wkv;                    /* [slot_count][L][H][64][64] */
    float *shift;                  /* [slot_count][2 parities][L][2][C] */
};

/* How to launch: not seen by kernels. */
struct cuda_launch {
    cudaStream_t stream;
    uint32_t row_capacity;    /* Rows that grids are made for: at least header->row_count. */
    uint32_t item_capacity;
    bool programmatic;        /* Chain kernels by programmatic dependent launch (sm_90 on). */
    bool bulk_copies;         /* Bulk copies into shared memory (sm_90 and later). */
    uint32_t multiprocessors; /* Of the device. */
    uint32_t scan_capacity;   /* Items from header->scan_first on: at most so many. 0: not known. */
};

/* ---- The model in device memory ---------------------------------------------------------- */

struct cuda_shape {
    uint32_t V, L, C, H, F;
    uint32_t rank[CUDA_LOW_RANKS]; /* Q: padded with zeros to a multiple of 16. */
};

/* One layer. Vectors f32 [C]; matrices f16, K contiguous unless said otherwise. */
struct cuda_layer {
    const float *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;
    const float *mix;     /* [CUDA_MIXES][C] */
    const float *ffn_mix;
    const float *w0, *a0, *v0; /* v0 NULL in layer 0. */
    const float *k_k, *k_a, *r_k, *ln_x_weight, *ln_x_bias;
    const cuda_half *rkv;                  /* [3][C][C]: receptance, key, value. */
    const cuda_half *down[CUDA_LOW_RANKS]; /* [Q][C]; V NULL in layer 0. */
    const cuda_half *up[CUDA_LOW_RANKS];   /* [C][Q]; V NULL in layer 0. */
    const cuda_half *output;               /* [C][C] */
    const cuda_half *ffn_key;              /* [F][C] */
    const cuda_half *ffn_value;            /* [F in][C out]: a row for each hidden channel, so
                                              that the rows of zero channels need not be read. */
};

/* Activations of a step; N = rows of the arena (the stride of planes). */
struct cuda_activations {
    uint32_t N;
    float *x;                         /* [N][C] residual stream. */
    cuda_half *planes;                   /* [CUDA_MIXES][N][C] inputs of the time mix's products. */
    cuda_half *rkv;                      /* [3][N][C] */
    cuda_half *hidden[CUDA_LOW_RANKS];   /* [N][Q] after their activations. */
    float *log_w;                     /* [N][C] log of the decay: -e^-0.5 sigmoid(..). */
    float *a;                         /* [N][C] in-context learning rate, after sigmoid. */
    float *gate;                      /* [N][C] */
    cuda_half *v_first;                  /* [N][C] v of layer 0. */
    float *y;                         /* [N][C] output of the scan before its group norm. */
    cuda_half *y_gated;                  /* [N][C] input of the output product. */
    cuda_half *ffn_in;                   /* [N][C] */
    cuda_half *ffn_hidden;               /* [N][F] after relu^2. */
    cuda_half *head_in;                  /* [logit_capacity][C] */
    void *low_rank_scratch;              /* [cuda_low_rank_scratch_bytes], zeros before its first
                                            use; NULL: products are not cut along k. */
};

/* ---- cuda_elementwise.cu ----------------------------------------------------------------- */

/* Fills step.places; x = LN0(emb[token]) for every row. emb [V][C] f16. */
cudaError_t cuda_embed(const struct cuda_launch *launch, struct cuda_step step,
                       const struct cuda_shape *shape, const cuda_half *emb,
                       const float *ln0_weight, const float *ln0_bias,
                       const struct cuda_activations *to);

/* planes[m] = n + (previous n - n) * mix[m], n = LN1(x); the last row of each active item leaves n
 * in its shift_out. cuda_mix_ffn: the same with LN2 and the one mix, into ffn_in. */
cudaError_t cuda_mix_att(const struct cuda_launch *launch, struct cuda_step step,
                         const struct cuda_shape *shape, const struct cuda_layer *layer,
                         uint32_t layer_index, const struct cuda_activations *act);
cudaError_t cuda_mix_ffn(const struct cuda_launch *launch, struct cuda_step step,
                         const struct cuda_shape *shape, const struct cuda_layer *layer,
                         uint32_t layer_index, const struct cuda_activations *act);

/* ffn_hidden = min(relu(ffn_hidden)^2, 65504), in place. */
cudaError_t cuda_relu_squared(const struct cuda_launch *launch, struct cuda_step step,
                              const struct cuda_shape *shape, const struct cuda_activations *act);

/* head_in[i] = LN_out(x[logit_row[i]]) for logit_capacity rows at most; also makes the parity_out
 * of every active item its slot's parity when `advance`. */
cudaError_t cuda_final_norm(const struct cuda_launch *launch, struct cuda_step step,
                            const struct cuda_shape *shape, uint32_t logit_capacity, bool advance,
                            const float *ln_out_weight, const float *ln_out_bias,
                            const struct cuda_activations *act);

/* One slot's state to or from the layout of a snapshot: per layer att_prev[C], S[H][64][64],
 * ffn_prev[C]. unpack: also makes parity 0 the live copy. snapshot NULL: zeros. */
cudaError_t cuda_state_pack(cudaStream_t stream, struct cuda_step step,
                            const struct cuda_shape *shape, uint32_t slot, float *snapshot_out);
cudaError_t cuda_state_unpack(cudaStream_t stream, struct cuda_step step,
                              const struct cuda_shape *shape, uint32_t slot,
                              const float *snapshot);

/* ---- cuda_convert.cu --------------------------------------------------------------------- */

enum cuda_source { CUDA_FROM_BF16, CUDA_FROM_F16, CUDA_FROM_F32 };

/* from [rows][columns] -> to f16 [rows][columns_padded] (zeros in the padding), or, transposed,
 * [columns][rows_padded]. *overflowed_out (device) becomes 1 when a finite number does not fit. */
cudaError_t cuda_convert_matrix(cudaStream_t stream, enum cuda_source source, const void *from,
                                uint32_t rows, uint32_t columns, bool transpose, uint32_t padded,
                                cuda_half *to, uint32_t *overflowed_out);
cudaError_t cuda_convert_vector(cudaStream_t stream, enum cuda_source source, const void *from,
                                uint64_t count, float *to);

/* Fills with pseudo-random numbers, uniform in offset +- scale, the same for the same seed. */
cudaError_t cuda_fill_f16(cudaStream_t stream, cuda_half *to, uint64_t count, float scale,
                          float offset, uint64_t seed);
cudaError_t cuda_fill_f32(cudaStream_t stream, float *to, uint64_t count, float scale, float offset,
                          uint64_t seed);

/* ---- cuda_low_rank_down.cu, cuda_low_rank_up.cu ------------------------------------------ */

/* Of act->low_rank_scratch, for any number of rows. */
size_t cuda_low_rank_scratch_bytes(uint32_t multiprocessors);

/* hidden[g] = act_g(planes[mix of g] down[g]^T) for all groups in one launch: tanh for W, sigmoid
 * for G, none for A and V. Layer 0 has no V. */
cudaError_t cuda_low_rank_down(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const struct cuda_layer *layer,
                               const struct cuda_activations *act);

/* From hidden, in one launch: log_w = -e^-0.5 sigmoid(w0 + W); a = sigmoid(a0 + A); gate = G;
 * v += (v_first - v) sigmoid(v0 + V) in rkv's v plane. Layer 0: v_first = v. */
cudaError_t cuda_low_rank_up(const struct cuda_launch *launch, struct cuda_step step,
                             const struct cuda_shape *shape, const struct cuda_layer *layer,
                             const struct cuda_activations *act);

/* ---- cuda_wkv_decode.cu, cuda_wkv_scan.cu ------------------------------------------------ */

/* Items of one row: preparation, recurrence, group norm, bonus, gate -> y_gated; S in place. */
cudaError_t cuda_wkv_decode(const struct cuda_launch *launch, struct cuda_step step,
                            const struct cuda_shape *shape, const struct cuda_layer *layer,
                            uint32_t layer_index, const struct cuda_activations *act);

/* Items of more rows: the same by a scan over the tokens. One launch or two. */
cudaError_t cuda_wkv_scan(const struct cuda_launch *launch, struct cuda_step step,
                          const struct cuda_shape *shape, const struct cuda_layer *layer,
                          uint32_t layer_index, const struct cuda_activations *act);

/* ---- cuda_few_rows.cu: 1 to CUDA_FEW_ROWS_MAX rows, all decode ---------------------------- */

/* planes are not used: LN and mix are computed where they are needed.
 *   att_in:  x -> rkv, hidden (r, k, v and all low-rank downs), shift_out
 *   recurrence: rkv, hidden -> y_gated, S in place, v_first in layer 0 (of a file of its own): what
 *   cuda_low_rank_up and cuda_wkv_decode do, but log_w, a, gate and v stay as they are; by those
 *   two where a head's matrices do not fit into shared memory. Every item has one row.
 *   att_out: x += y_gated output^T
 *   ffn_key: x -> ffn_hidden (LN2, mix, product, relu^2), shift_out
 *   ffn_value: x += ffn_hidden ffn_value, reading only rows of non-zero channels, summed in a fixed
 *   order whatever they are. `scratch` [cuda_few_rows_scratch_bytes], zeros before its first use.
 *   head: logits[i][V] = LN_out(x[logit_row[i]]) head^T, and the advance of cuda_final_norm.
 * A row's bits do not depend on the other rows. */
size_t cuda_few_rows_scratch_bytes(const struct cuda_shape *shape, uint32_t multiprocessors);
cudaError_t cuda_few_rows_att_in(const struct cuda_launch *launch, struct cuda_step step,
                                 const struct cuda_shape *shape, const struct cuda_layer *layer,
                                 uint32_t layer_index, const struct cuda_activations *act);
cudaError_t cuda_few_rows_recurrence(const struct cuda_launch *launch, struct cuda_step step,
                                     const struct cuda_shape *shape,
                                     const struct cuda_layer *layer, uint32_t layer_index,
                                     const struct cuda_activations *act);
cudaError_t cuda_few_rows_att_out(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  const struct cuda_activations *act);
cudaError_t cuda_few_rows_ffn_key(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  uint32_t layer_index, const struct cuda_activations *act);
cudaError_t cuda_few_rows_ffn_value(const struct cuda_launch *launch, struct cuda_step step,
                                    const struct cuda_shape *shape, const struct cuda_layer *layer,
                                    const struct cuda_activations *act, void *scratch);
cudaError_t cuda_few_rows_head(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const float *ln_out_weight,
                               const float *ln_out_bias, const cuda_half *head,
                               const struct cuda_activations *act, float *logits);

#ifdef __cplusplus
}
#endif
