/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_decode.cu - one token of the time mix: preparation, recurrence, norm, bonus, gate.
 *
 * Computes  per item of one row and per head, i over values and j over keys:
 *             kk = k k_k / |k k_k|   k' = k (1 + (a - 1) k_a)   b = kk a   w = exp(log_w)
 *             S[i][j] = S[i][j] w[j] - (sum_m S[i][m] kk[m]) b[j] + v[i] k'[j]
 *             y[i]    = sum_j S[i][j] r[j]                                  (with the new S)
 *             out     = (group_norm(y) ln_weight + ln_bias + (sum_j r k' r_k) v) gate
 * Shapes    S [slot][L][H][64 i][64 j] f32; r k v f16, log_w a gate f32, out f16, all [N][C].
 * Bytes     per head 32,768 for the state, in and out once, and 1,280 for vectors.
 * Flops     9 * 64 * 64 per head: 1.1 flop/byte, bound by memory everywhere.
 * Floor     320 items, H = 64: 697 MB = 162 us at 4.3 TB/s; kernels of multiprocessors reach 4.0.
 * Grid      one block per (head, item). 16 lanes share a row of S, so that every load and store of
 *           a warp is two whole rows; a thread keeps 8 pieces of 4 columns in registers. The state
 *           is read before the wait: header and items reach the device by a copy, which waits for
 *           all kernels of the step before, and within a step nobody else writes this layer of a
 *           slot that an item of one row reads. `places` is made by a kernel: after the wait.
 * Numerics  f32, one order of sums; out rounded to f16. */
#include "cuda/cuda_wkv_decode.cuh"

enum {
    THREADS = 128,
    GROUPS = THREADS / WKV_LANES, /* Rows that the block holds at a time. */
    ROWS = CUDA_HEAD / GROUPS,    /* Rows that a thread holds. */
};

struct decode {
    struct cuda_step step;
    const cuda_half *r, *k, *v;
    const float *log_w, *a, *gate;
    const float *k_k, *k_a, *r_k, *ln_weight, *ln_bias;
    cuda_half *out;
    uint32_t C;
    size_t layer_at; /* Of the layer in a slot's S. */
    size_t slot_wkv; /* Floats of a slot's S. */
};

/* Vectors of the head that every row of S needs. */
struct prepared {
    float kk[CUDA_HEAD], w[CUDA_HEAD], b[CUDA_HEAD], k[CUDA_HEAD], r[CUDA_HEAD];
};

/* What the first warp keeps: two channels a lane. */
struct lane_weights {
    float2 k_k, k_a, r_k, ln_weight, ln_bias;
};

static __device__ __forceinline__ void lane_weights_load(struct lane_weights *to,
                                                         const struct decode &p, uint32_t channel)
{
    to->k_k = cuda_float2_load(p.k_k + channel);
    to->k_a = cuda_float2_load(p.k_a + channel);
    to->r_k = cuda_float2_load(p.r_k + channel);
    to->ln_weight = cuda_float2_load(p.ln_weight + channel);
    to->ln_bias = cuda_float2_load(p.ln_bias + channel);
}

/* By the first warp; `at` is the lane's first channel in [N][C]. Returns the bonus. */
static __device__ __forceinline__ float prepare(struct prepared *head, const struct decode &p,
                                                const struct lane_weights &weights, size_t at)
{
    const uint32_t lane = threadIdx.x;
    const float2 r = cuda_half2_load(p.r + at);
    const float2 k = cuda_half2_load(p.k + at);
    const float2 log_w = cuda_float2_load(p.log_w + at);
    const float2 a = cuda_float2_load(p.a + at);
    const float2 kk = cuda_removal_key(k, weights.k_k);
    const float2 key = cuda_replacement_key(k, a, weights.k_a);
    ((float2 *)head->kk)[lane] = kk;
    ((float2 *)head->w)[lane] = make_float2(cuda_decay(log_w.x), cuda_decay(log_w.y));
    ((float2 *)head->b)[lane] = make_float2(kk.x * a.x, kk.y * a.y);
    ((float2 *)head->k)[lane] = key;
    ((float2 *)head->r)[lane] = r;
    return cuda_bonus(r, key, weights.r_k);
}

/* Advances the thread's part of S and leaves its part of y, summed over the row, in y_out. */
static __device__ __forceinline__ void advance(float4 *s, const struct prepared *head,
                                               const float *v, uint32_t lane, float *y_out)
{
    const struct wkv_keys keys = {
        cuda_float4_load(head->kk + lane * 4), cuda_float4_load(head->w + lane * 4),
        cuda_float4_load(head->b + lane * 4), cuda_float4_load(head->k + lane * 4),
        cuda_float4_load(head->r + lane * 4)};
    float removed[ROWS];
    wkv_removed<ROWS>(s, keys.kk, removed);
    wkv_advance<ROWS>(s, keys, removed, v);
    wkv_read<ROWS>(s, keys.r, y_out);
}

__global__ void __launch_bounds__(THREADS) wkv_decode_kernel(struct decode p)
{
    cuda_dependency_trigger();
    __shared__ __align__(16) struct prepared head;
    __shared__ __align__(16) float y[CUDA_HEAD];
    const uint32_t lane = threadIdx.x % WKV_LANES;
    const uint32_t group = threadIdx.x / WKV_LANES;
    const uint32_t channel = blockIdx.x * CUDA_HEAD;
    const size_t state_at = p.layer_at + (size_t)blockIdx.x * WKV_STATE_FLOATS
                            + group * CUDA_HEAD + lane * 4;
    const bool exists = blockIdx.y < p.step.header->item_count
                        && p.step.items[blockIdx.y].row_count == 1;
    float4 s[ROWS];
    struct lane_weights weights = {};
    if (exists) {
        const float *state_in =
            p.step.wkv + p.step.items[blockIdx.y].source_slot * p.slot_wkv + state_at;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            s[i] = cuda_float4_load(state_in + i * GROUPS * CUDA_HEAD);
        }
        if (threadIdx.x < 32) {
            lane_weights_load(&weights, p, channel + threadIdx.x * 2);
        }
    }
    cuda_dependency_wait();
    if (!exists) {
        return;
    }
    const struct cuda_place *place = &p.step.places[blockIdx.y];
    const size_t at = (size_t)place->first_row * p.C + channel;
    float2 v_pair = make_float2(0.0f, 0.0f), gate = v_pair;
    float bonus = 0.0f;
    if (threadIdx.x < 32) {
        v_pair = cuda_half2_load(p.v + at + threadIdx.x * 2);
        gate = cuda_float2_load(p.gate + at + threadIdx.x * 2);
        bonus = prepare(&head, p, weights, at + threadIdx.x * 2);
    }
    float v[ROWS], y_row[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        v[i] = __half2float(p.v[at + group + i * GROUPS]);
    }
    __syncthreads();
    advance(s, &head, v, lane, y_row);
    float *state_out = place->wkv_out + state_at;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        if (place->active != 0) {
            cuda_float4_store(state_out + i * GROUPS * CUDA_HEAD, s[i]);
        }
        if (lane == 0) {
            y[group + i * GROUPS] = y_row[i];
        }
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        const float2 out = cuda_head_output(cuda_float2_load(y + threadIdx.x * 2),
                                            weights.ln_weight, weights.ln_bias, bonus, v_pair,
                                            gate);
        cuda_half2_store(p.out + at + threadIdx.x * 2, out.x, out.y);
    }
}

/* ---- Launcher ---------------------------------------------------------------------------- */

cudaError_t cuda_wkv_decode(const struct cuda_launch *launch, struct cuda_step step,
                            const struct cuda_shape *shape, const struct cuda_layer *layer,
                            uint32_t layer_index, const struct cuda_activations *act)
{
    if (shape->C != shape->H * CUDA_HEAD) {
        return cudaErrorInvalidValue;
    }
    const size_t plane = (size_t)act->N * shape->C;
    struct decode p = {};
    p.step = step;
    p.r = act->rkv;
    p.k = act->rkv + plane;
    p.v = act->rkv + 2 * plane;
    p.log_w = act->log_w;
    p.a = act->a;
    p.gate = act->gate;
    p.k_k = layer->k_k;
    p.k_a = layer->k_a;
    p.r_k = layer->r_k;
    p.ln_weight = layer->ln_x_weight;
    p.ln_bias = layer->ln_x_bias;
    p.out = act->y_gated;
    p.C = shape->C;
    p.layer_at = (size_t)layer_index * shape->H * WKV_STATE_FLOATS;
    p.slot_wkv = (size_t)shape->L * shape->H * WKV_STATE_FLOATS;
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(shape->H, launch->item_capacity), dim3(THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config, wkv_decode_kernel, p);
}
