/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_scan.cu - many tokens of the time mix: the recurrence row by row of S, no barrier
 * per token.
 *
 * Computes  what cuda_wkv_decode.cu does, for the T > 1 rows of an item in order; y first, then a
 *           second kernel with norm, bonus and gate over all rows at once.
 * Bytes     per token and head 896 in, 256 out, times the blocks that share a head for the input;
 *           S once; the second kernel 1,280. 7.2B, T = 4096: 0.6 GB = 150 us at 4.3 TB/s.
 * Flops     9 * 64 * 64 per token and head: 64 heads, T = 4096: 9.7 GFLOP = 0.2 ms at 51 TFLOP/s.
 * Floor     neither: the serial chain of a token, and the path from shared memory, 128 bytes a
 *           cycle: a 16-byte load of a warp takes 4 cycles even when lanes share addresses, and 16
 *           lanes per row need 5 of them per token and warp.
 * Grid      heads x (64 / rows of a block) blocks, per item. A warp has ROWS * 2 rows of S: 16
 *           lanes share a row, each with 4 columns of ROWS rows in registers.
 * Roles     WARPS warps scan TOKENS tokens while TOKENS / 2 others prepare the next ones (a warp
 *           per pair), copy the input after those and write out the y before: one barrier per
 *           TOKENS tokens.
 * Ahead     two tokens at a time from the same old S:
 *             S_1 a_2 = S_0 (w_1 a_2) + (S_0 a_1) (b_1 . a_2) + v_1 (k_1 . a_2),   a = -kk
 *           so both sums over lanes travel together and the dependent chain halves.
 * Numerics  f32, one order of sums in all variants; a last token without a partner is followed by
 *           zeros, which leave S as it is. */
#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_wkv.cuh"

enum {
    LANES = 16,                           /* Of a row of S. */
    STATE_FLOATS = CUDA_HEAD * CUDA_HEAD, /* Of one head. */
    FINISH_WARPS = 8,
};

struct scan {
    struct cuda_step step;
    const cuda_half *rkv; /* [3][N][C] */
    const float *log_w, *a, *gate;
    const float *k_k, *k_a, *r_k, *ln_weight, *ln_bias;
    float *y;
    cuda_half *out;
    size_t plane;    /* N C */
    size_t layer_at; /* Of the layer in a slot's S. */
    uint32_t C, H;
};

/* One token of one head as the kernels before left it. */
struct raw_token {
    cuda_half rkv[3][CUDA_HEAD];
    float log_w[CUDA_HEAD], a[CUDA_HEAD];
};

enum { RAW_PIECES = sizeof(struct raw_token) / 16, HALF_PIECES = 3 * CUDA_HEAD * 2 / 16 };

/* Prepared: a is -kk; of the second token of a pair w_1 (-kk_2). */
struct token {
    float w[CUDA_HEAD], a[CUDA_HEAD], b[CUDA_HEAD], k[CUDA_HEAD], r[CUDA_HEAD], v[CUDA_HEAD];
};

struct pair {
    struct token token[2];
    float ba, ka; /* b_1 . a_2 and k_1 . a_2 */
    float padding[2];
};

/* What a block works on. */
struct task {
    uint32_t head;
    uint32_t first_row, row_count;
    uint32_t first_value;  /* Row of S. */
    const float *state_in; /* [64][64] */
    float *state_out;      /* NULL: not to be written. */
};

/* Shared memory of a block. */
template <int ROWS, int WARPS, int TOKENS> struct scan_shared {
    static constexpr int BLOCK_ROWS = ROWS * 32 / LANES * WARPS;
    static constexpr int SPLITS = CUDA_HEAD / BLOCK_ROWS;
    static constexpr int PREPARERS = TOKENS / 2; /* Warps. */
    static constexpr int THREADS = (WARPS + PREPARERS) * 32;
    struct pair pairs[2][TOKENS / 2];
    struct raw_token raw[2][TOKENS];
    float y[2][TOKENS][BLOCK_ROWS];
};

/* ---- Preparing warps --------------------------------------------------------------------- */

/* Starts the copy of tokens first .. first + TOKENS - 1; beyond the item they become zeros. */
template <int TOKENS, int THREADS>
static __device__ __forceinline__ void raw_load(struct raw_token *to, const struct scan &p,
                                                const struct task &task, uint32_t first,
                                                uint32_t thread)
{
    for (uint32_t i = thread; i < TOKENS * RAW_PIECES; i += THREADS) {
        const uint32_t t = i / RAW_PIECES;
        const uint32_t piece = i % RAW_PIECES;
        const bool valid = first + t < task.row_count;
        const uint32_t row = task.first_row + (valid ? first + t : 0);
        const size_t at = (size_t)row * p.C + task.head * CUDA_HEAD;
        const void *from;
        if (piece < HALF_PIECES) {
            from = p.rkv + piece / 8 * p.plane + at + piece % 8 * 8;
        } else if (piece < HALF_PIECES + 16) {
            from = p.log_w + at + (piece - HALF_PIECES) * 4;
        } else {
            from = p.a + at + (piece - HALF_PIECES - 16) * 4;
        }
        cuda_copy_16((char *)&to[t] + piece * 16, from, valid);
    }
    cuda_copy_commit();
}

/* Two channels of a prepared token. */
struct lane_token {
    float2 w, a, b, k;
};

static __device__ __forceinline__ struct lane_token lane_token_of(const struct raw_token *raw,
                                                                  float2 k_k, float2 k_a,
                                                                  uint32_t lane)
{
    const float2 k = cuda_half2_load(raw->rkv[1] + lane * 2);
    const float2 log_w = cuda_float2_load(raw->log_w + lane * 2);
    const float2 a = cuda_float2_load(raw->a + lane * 2);
    const float2 kk = cuda_removal_key(k, k_k);
    struct lane_token token;
    token.a = make_float2(-kk.x, -kk.y);
    token.b = make_float2(kk.x * a.x, kk.y * a.y);
    token.w = make_float2(cuda_decay(log_w.x), cuda_decay(log_w.y));
    token.k = cuda_replacement_key(k, a, k_a);
    return token;
}

static __device__ __forceinline__ void token_store(struct token *to, const struct raw_token *raw,
                                                   const struct lane_token &token, uint32_t lane)
{
    ((float2 *)to->w)[lane] = token.w;
    ((float2 *)to->a)[lane] = token.a;
    ((float2 *)to->b)[lane] = token.b;
    ((float2 *)to->k)[lane] = token.k;
    ((float2 *)to->r)[lane] = cuda_half2_load(raw->rkv[0] + lane * 2);
    ((float2 *)to->v)[lane] = cuda_half2_load(raw->rkv[2] + lane * 2);
}

/* One warp, one pair. */
static __device__ __forceinline__ void pair_prepare(struct pair *pair, const struct raw_token *raw,
                                                    float2 k_k, float2 k_a, uint32_t lane)
{
    const struct lane_token first = lane_token_of(&raw[0], k_k, k_a, lane);
    struct lane_token second = lane_token_of(&raw[1], k_k, k_a, lane);
    const float ba = cuda_warp_sum(cuda_pair_dot(first.b, second.a));
    const float ka = cuda_warp_sum(cuda_pair_dot(first.k, second.a));
    second.a.x *= first.w.x;
    second.a.y *= first.w.y;
    if (lane == 0) {
        pair->ba = ba;
        pair->ka = ka;
    }
    token_store(&pair->token[0], &raw[0], first, lane);
    token_store(&pair->token[1], &raw[1], second, lane);
}

template <int TOKENS, int BLOCK_ROWS, int THREADS>
static __device__ __forceinline__ void y_store(const struct scan &p, const struct task &task,
                                               const float (*from)[BLOCK_ROWS], uint32_t first,
                                               uint32_t thread)
{
    for (uint32_t i = thread; i < TOKENS * BLOCK_ROWS / 4; i += THREADS) {
        const uint32_t t = i / (BLOCK_ROWS / 4);
        const uint32_t c = i % (BLOCK_ROWS / 4) * 4;
        if (first + t < task.row_count) {
            cuda_float4_store(p.y + (size_t)(task.first_row + first + t) * p.C
                                  + task.head * CUDA_HEAD + task.first_value + c,
                              cuda_float4_load(&from[t][c]));
        }
    }
}

/* ---- Scanning warps ---------------------------------------------------------------------- */

/* Adds v[COUNT] over the 16 lanes of a row, halving the values at each step while more than one is
 * left: the lane's bits choose whose sum ends in v[0]. Returns which. */
template <int COUNT> static __device__ __forceinline__ int scatter_sum(float *v, uint32_t lane)
{
    int index = 0;
    int left = COUNT;
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset >>= 1) {
        if (left > 1) {
            left /= 2;
            const bool upper = (lane & (uint32_t)offset) != 0;
            index = index * 2 + (upper ? 1 : 0);
#pragma unroll
            for (int i = 0; i < COUNT / 2; i++) {
                if (i < left) {
                    const float send = upper ? v[i] : v[i + left];
                    const float keep = upper ? v[i + left] : v[i];
                    v[i] = keep + __shfl_xor_sync(CUDA_WARP_ALL, send, offset);
                }
            }
        } else {
            v[0] += __shfl_xor_sync(CUDA_WARP_ALL, v[0], offset);
        }
    }
    return index;
}

/* All sums in every lane: halve, then collect in reverse order. */
template <int COUNT> static __device__ __forceinline__ void gather_sum(float *v, uint32_t lane)
{
    scatter_sum<COUNT>(v, lane);
#pragma unroll
    for (int left = 1, offset = LANES / COUNT; left < COUNT; left *= 2, offset *= 2) {
        const bool upper = (lane & (uint32_t)offset) != 0;
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) {
            if (i < left) {
                const float other = __shfl_xor_sync(CUDA_WARP_ALL, v[i], offset);
                v[i + left] = upper ? v[i] : other;
                v[i] = upper ? other : v[i];
            }
        }
    }
}

/* What one token gives to a lane. */
template <int ROWS> struct terms {
    float4 a, w, k, b, r;
    float v[ROWS];
};

template <int ROWS>
static __device__ __forceinline__ void terms_load(struct terms<ROWS> *to,
                                                  const struct token *token, uint32_t lane,
                                                  uint32_t value)
{
    to->a = cuda_float4_load(token->a + lane * 4);
    to->w = cuda_float4_load(token->w + lane * 4);
    to->k = cuda_float4_load(token->k + lane * 4);
    to->b = cuda_float4_load(token->b + lane * 4);
    to->r = cuda_float4_load(token->r + lane * 4);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        to->v[i] = token->v[value + i];
    }
}

static __device__ __forceinline__ float dot4(float4 x, float4 y)
{
    return (x.x * y.x + x.y * y.y) + (x.z * y.z + x.w * y.w);
}

/* S = S w + v k: independent of the sums over lanes, so it fills their latency. */
template <int ROWS>
static __device__ __forceinline__ void decay(float4 *s, const struct terms<ROWS> &t)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        s[i].x = fmaf(s[i].x, t.w.x, t.v[i] * t.k.x);
        s[i].y = fmaf(s[i].y, t.w.y, t.v[i] * t.k.y);
        s[i].z = fmaf(s[i].z, t.w.z, t.v[i] * t.k.z);
        s[i].w = fmaf(s[i].w, t.w.w, t.v[i] * t.k.w);
    }
}

/* S += sa b; the lane's part of y = S r. */
template <int ROWS>
static __device__ __forceinline__ void correct(float4 *s, const float *sa,
                                               const struct terms<ROWS> &t, float *y)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        s[i].x = fmaf(sa[i], t.b.x, s[i].x);
        s[i].y = fmaf(sa[i], t.b.y, s[i].y);
        s[i].z = fmaf(sa[i], t.b.z, s[i].z);
        s[i].w = fmaf(sa[i], t.b.w, s[i].w);
        y[i] = dot4(s[i], t.r);
    }
}

/* Sums the parts of y over the lanes of a row and leaves them in shared memory. */
template <int ROWS>
static __device__ __forceinline__ void y_put(float *y, float *to, uint32_t lane)
{
    const int index = scatter_sum<ROWS>(y, lane);
    if (lane % (LANES / ROWS) == 0) {
        to[index] = y[0];
    }
}

/* Advances the lane's part of S by TOKENS tokens. `row` is its first row in the block. */
template <int ROWS, int TOKENS, int BLOCK_ROWS>
static __device__ __forceinline__ void block_scan(float4 *s, const struct pair *pairs,
                                                  float (*y_to)[BLOCK_ROWS], uint32_t lane,
                                                  uint32_t row, uint32_t value)
{
    struct terms<ROWS> now[2], next[2];
    float sa[2 * ROWS], y[2][ROWS];
    terms_load<ROWS>(&now[0], &pairs->token[0], lane, value);
    terms_load<ROWS>(&now[1], &pairs->token[1], lane, value);
    float ba = pairs->ba, ka = pairs->ka, next_ba = 0.0f, next_ka = 0.0f;
#pragma unroll
    for (int n = 0; n < TOKENS / 2; n++) {
        if (n + 1 < TOKENS / 2) {
            terms_load<ROWS>(&next[0], &pairs[n + 1].token[0], lane, value);
            terms_load<ROWS>(&next[1], &pairs[n + 1].token[1], lane, value);
            next_ba = pairs[n + 1].ba;
            next_ka = pairs[n + 1].ka;
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sa[i] = dot4(s[i], now[0].a);
            sa[ROWS + i] = dot4(s[i], now[1].a);
        }
        gather_sum<2 * ROWS>(sa, lane);
        if (n > 0) {
            y_put<ROWS>(y[0], &y_to[2 * n - 2][row], lane);
            y_put<ROWS>(y[1], &y_to[2 * n - 1][row], lane);
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sa[ROWS + i] = fmaf(sa[i], ba, fmaf(now[0].v[i], ka, sa[ROWS + i]));
        }
        decay<ROWS>(s, now[0]);
        correct<ROWS>(s, sa, now[0], y[0]);
        decay<ROWS>(s, now[1]);
        correct<ROWS>(s, sa + ROWS, now[1], y[1]);
        now[0] = next[0];
        now[1] = next[1];
        ba = next_ba;
        ka = next_ka;
    }
    y_put<ROWS>(y[0], &y_to[TOKENS - 2][row], lane);
    y_put<ROWS>(y[1], &y_to[TOKENS - 1][row], lane);
}

/* ---- The kernels ------------------------------------------------------------------------- */

/* Round n scans tokens of block n, prepares those of n + 1, loads those of n + 2 and writes the y
 * of n - 1. Both kinds of warps pass the same number of barriers: one before the first round, one
 * after each of the rounds -1 to `blocks`. The first round only prepares, the last only writes. */
template <int ROWS, int WARPS, int TOKENS>
static __device__ __forceinline__ void prepare_all(struct scan_shared<ROWS, WARPS, TOKENS> *shared,
                                                   const struct scan &p, const struct task &task,
                                                   float2 k_k, float2 k_a)
{
    typedef struct scan_shared<ROWS, WARPS, TOKENS> layout;
    constexpr int THREADS = layout::PREPARERS * 32;
    const uint32_t thread = threadIdx.x - WARPS * 32;
    const int blocks = (int)((task.row_count + TOKENS - 1) / TOKENS);
    raw_load<TOKENS, THREADS>(shared->raw[0], p, task, 0, thread);
    raw_load<TOKENS, THREADS>(shared->raw[1], p, task, TOKENS, thread);
    cuda_copy_wait<0>();
    __syncthreads();
    for (int n = -1; n <= blocks; n++) {
        const int own = n & 1;
        if (n >= 0) { /* raw[own] was consumed in the round before. */
            raw_load<TOKENS, THREADS>(shared->raw[own], p, task, (uint32_t)(n + 2) * TOKENS,
                                      thread);
        }
        if (n >= 1) {
            y_store<TOKENS, layout::BLOCK_ROWS, THREADS>(p, task, shared->y[own ^ 1],
                                                         (uint32_t)(n - 1) * TOKENS, thread);
        }
        if (n + 1 < blocks) {
            pair_prepare(&shared->pairs[own ^ 1][thread / 32],
                         &shared->raw[own ^ 1][thread / 32 * 2], k_k, k_a, thread % 32);
        }
        cuda_copy_wait<0>();
        __syncthreads();
    }
}

template <int ROWS, int WARPS, int TOKENS>
static __device__ __forceinline__ void scan_all(struct scan_shared<ROWS, WARPS, TOKENS> *shared,
                                                const struct task &task)
{
    typedef struct scan_shared<ROWS, WARPS, TOKENS> layout;
    const uint32_t lane = threadIdx.x % LANES;
    const uint32_t row = threadIdx.x / LANES * ROWS; /* In the block. */
    const uint32_t value = task.first_value + row;
    const size_t at = value * CUDA_HEAD + lane * 4;
    float4 s[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        s[i] = cuda_float4_load(task.state_in + at + i * CUDA_HEAD);
    }
    const int blocks = (int)((task.row_count + TOKENS - 1) / TOKENS);
    __syncthreads();
    __syncthreads();
    for (int n = 0; n < blocks; n++) {
        block_scan<ROWS, TOKENS, layout::BLOCK_ROWS>(s, shared->pairs[n & 1], shared->y[n & 1],
                                                     lane, row, value);
        __syncthreads();
    }
    __syncthreads();
    if (task.state_out != NULL) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            cuda_float4_store(task.state_out + at + i * CUDA_HEAD, s[i]);
        }
    }
}

template <int ROWS, int WARPS, int TOKENS>
__global__ void __launch_bounds__((WARPS + TOKENS / 2) * 32, 1) wkv_scan_kernel(struct scan p)
{
    typedef struct scan_shared<ROWS, WARPS, TOKENS> layout;
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(dynamic);
    layout *shared = (layout *)(void *)dynamic;
    struct task task;
    task.head = blockIdx.x / layout::SPLITS;
    task.first_value = blockIdx.x % layout::SPLITS * layout::BLOCK_ROWS;
    const uint32_t channel = task.head * CUDA_HEAD + threadIdx.x % 32 * 2;
    const float2 k_k = cuda_float2_load(p.k_k + channel);
    const float2 k_a = cuda_float2_load(p.k_a + channel);
    cuda_dependency_wait();
    const uint32_t item = p.step.header->scan_first + blockIdx.y;
    if (item >= p.step.header->item_count || p.step.places[item].row_count < 2) {
        return;
    }
    const struct cuda_place *place = &p.step.places[item];
    const size_t state_at = p.layer_at + (size_t)task.head * STATE_FLOATS;
    task.first_row = place->first_row;
    task.row_count = place->row_count;
    task.state_in = place->wkv_in + state_at;
    task.state_out = place->active != 0 ? place->wkv_out + state_at : NULL;
    if (threadIdx.x < WARPS * 32) {
        scan_all<ROWS, WARPS, TOKENS>(shared, task);
    } else {
        prepare_all<ROWS, WARPS, TOKENS>(shared, p, task, k_k, k_a);
    }
}

/* Block (x, y): row x, heads from y * FINISH_WARPS, a warp each. */
__global__ void __launch_bounds__(FINISH_WARPS * 32) wkv_finish_kernel(struct scan p)
{
    cuda_dependency_trigger();
    const uint32_t head = blockIdx.y * FINISH_WARPS + threadIdx.x / 32;
    cuda_dependency_wait();
    if (blockIdx.x >= p.step.header->row_count || head >= p.H
        || p.step.places[p.step.row_item[blockIdx.x]].row_count < 2) {
        return;
    }
    const uint32_t channel = head * CUDA_HEAD + threadIdx.x % 32 * 2;
    const size_t at = (size_t)blockIdx.x * p.C + channel;
    const float2 r = cuda_half2_load(p.rkv + at);
    const float2 k = cuda_half2_load(p.rkv + p.plane + at);
    const float2 v = cuda_half2_load(p.rkv + 2 * p.plane + at);
    const float2 key = cuda_replacement_key(k, cuda_float2_load(p.a + at),
                                            cuda_float2_load(p.k_a + channel));
    const float bonus = cuda_bonus(r, key, cuda_float2_load(p.r_k + channel));
    const float2 out = cuda_head_output(
        cuda_float2_load(p.y + at), cuda_float2_load(p.ln_weight + channel),
        cuda_float2_load(p.ln_bias + channel), bonus, v, cuda_float2_load(p.gate + at));
    cuda_half2_store(p.out + at, out.x, out.y);
}

/* ---- Launcher ---------------------------------------------------------------------------- */

static struct scan scan_of(struct cuda_step step, const struct cuda_shape *shape,
                           const struct cuda_layer *layer, uint32_t layer_index,
                           const struct cuda_activations *act)
{
    struct scan p = {};
    p.step = step;
    p.rkv = act->rkv;
    p.log_w = act->log_w;
    p.a = act->a;
    p.gate = act->gate;
    p.k_k = layer->k_k;
    p.k_a = layer->k_a;
    p.r_k = layer->r_k;
    p.ln_weight = layer->ln_x_weight;
    p.ln_bias = layer->ln_x_bias;
    p.y = act->y;
    p.out = act->y_gated;
    p.plane = (size_t)act->N * shape->C;
    p.layer_at = (size_t)layer_index * shape->H * STATE_FLOATS;
    p.C = shape->C;
    p.H = shape->H;
    return p;
}

/* cudaErrorInvalidValue when the device has too little shared memory for so many TOKENS. */
template <int ROWS, int WARPS, int TOKENS>
static cudaError_t variant_launch(const struct cuda_launch *launch, const struct scan *p,
                                  uint32_t items)
{
    typedef struct scan_shared<ROWS, WARPS, TOKENS> layout;
    void (*kernel)(struct scan) = wkv_scan_kernel<ROWS, WARPS, TOKENS>;
    const cudaError_t code = cudaFuncSetAttribute(
        (const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(layout));
    if (code != cudaSuccess) {
        return code;
    }
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, dim3(p->H * layout::SPLITS, items), dim3(layout::THREADS),
                           sizeof(layout), attributes);
    return cudaLaunchKernelEx(&config, kernel, *p);
}

/* As many rows of S per thread as still leaves every multiprocessor a block. */
template <int TOKENS>
static cudaError_t tokens_launch(const struct cuda_launch *launch, const struct scan *p,
                                 uint32_t items)
{
    const uint64_t heads = (uint64_t)p->H * items;
    if (heads * 4 <= launch->multiprocessors) {
        return variant_launch<2, 4, TOKENS>(launch, p, items);
    }
    if (heads * 2 <= launch->multiprocessors) {
        return variant_launch<2, 8, TOKENS>(launch, p, items);
    }
    return variant_launch<4, 8, TOKENS>(launch, p, items);
}

cudaError_t cuda_wkv_scan(const struct cuda_launch *launch, struct cuda_step step,
                          const struct cuda_shape *shape, const struct cuda_layer *layer,
                          uint32_t layer_index, const struct cuda_activations *act)
{
    if (shape->C != shape->H * CUDA_HEAD) {
        return cudaErrorInvalidValue;
    }
    const struct scan p = scan_of(step, shape, layer, layer_index, act);
    const uint32_t items = launch->scan_capacity != 0 ? launch->scan_capacity
                                                      : launch->item_capacity;
    cudaError_t code = tokens_launch<16>(launch, &p, items);
    if (code == cudaErrorInvalidValue) {
        cudaGetLastError(); /* Not an error of the step: sm_75 has 64 KiB. */
        code = tokens_launch<8>(launch, &p, items);
    }
    if (code != cudaSuccess) {
        return code;
    }
    const dim3 grid(launch->row_capacity, (shape->H + FINISH_WARPS - 1) / FINISH_WARPS);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(FINISH_WARPS * 32), 0, attributes);
    return cudaLaunchKernelEx(&config, wkv_finish_kernel, p);
}
