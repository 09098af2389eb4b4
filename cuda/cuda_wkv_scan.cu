/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_scan.cu - many tokens of the time mix: the recurrence row by row of S, no barrier
 * per token.
 *
 * Computes  what cuda_wkv_decode.cu does, for the T > 1 rows of an item in order. A block that has
 *           all rows of a head also does norm, bonus and gate; else a second kernel does, over all
 *           tokens at once.
 * Bytes     per token and head 896 in, times the blocks that share a head; S once. One block for a
 *           head: 256 more in, 128 out. More: 260 out, and the second kernel 772. 7.2B, T = 4096:
 *           0.7 GB = 170 us at 4.3 TB/s.
 * Flops     9 * 64 * 64 per token and head: 64 heads, T = 4096: 9.7 GFLOP = 0.2 ms at 51 TFLOP/s.
 * Floor     neither: the serial chain of a pair of tokens (a dot product, a sum over lanes, two
 *           updates: some 250 cycles), the instructions of a warp (280 a pair with 4 rows in 16
 *           lanes, and one in four cycles of a multiprocessor is the preparation's), and the path
 *           from shared memory, 128 bytes a cycle: a 16-byte load of a warp takes 4 cycles even
 *           when lanes share addresses, a shuffle 1. Of that path a pair takes, with preparation:
 *             2 rows in 16 lanes, 4 warps: 16 rows    300 cycles
 *             4 rows in 16 lanes, 4 warps: 32 rows    340
 *             4 rows in 8 lanes, 4 warps: 64 rows     500
 *           More rows a lane mean fewer loads for a row; fewer lanes a row, fewer shuffles.
 * Grid      heads x (64 / rows of a block) blocks, per item.
 * Roles     WARPS warps scan TOKENS tokens while PREPARERS others prepare the next ones, a warp a
 *           pair, copy the input after those and write out the y before: one barrier per TOKENS
 *           tokens.
 * Ahead     two tokens at a time from the same old S:
 *             S_1 a_2 = S_0 (w_1 a_2) + (S_0 a_1) (b_1 . a_2) + v_1 (k_1 . a_2),   a = -kk
 *           so both sums over lanes travel together and the dependent chain halves.
 * Numerics  f32; the order of sums differs with the lanes of a row. A last token without a partner
 *           is followed by zeros, which leave S as it is. */

#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_wkv_pairs.cuh"

enum {
    STATE_FLOATS = CUDA_HEAD * CUDA_HEAD, /* Of one head. */
    RAW_BLOCKS = 4, /* Of TOKENS: being written out, scanned, prepared, loaded. */
    FINISH_THREADS = 256,
    FINISH_LANES = 16, /* Of a head: 4 channels each. */
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

/* What a block works on. */
struct task {
    uint32_t head;
    uint32_t first_row, row_count;
    uint32_t first_value;  /* Row of S. */
    const float *state_in; /* [64][64] */
    float *state_out;      /* NULL: not to be written. */
};

/* A block and its shared memory. */
template <int ROWS_, int LANES_, int WARPS, int PREPARERS_, int TOKENS_> struct scan_shared {
    static constexpr int ROWS = ROWS_, LANES = LANES_;
    static constexpr int BLOCK_ROWS = ROWS * 32 / LANES * WARPS;
    static constexpr int SPLITS = CUDA_HEAD / BLOCK_ROWS;
    static constexpr int PREPARERS = PREPARERS_; /* Warps. */
    static constexpr int TOKENS = TOKENS_, PAIRS = TOKENS / 2;
    static constexpr int SCAN_THREADS = WARPS * 32;
    static constexpr int THREADS = SCAN_THREADS + PREPARERS * 32;
    struct pair pairs[2][PAIRS];
    struct raw_token raw[RAW_BLOCKS][TOKENS];
    float y[2][PAIRS + 1][SCAN_THREADS]; /* Of pair n: n + 1; by y_index. */
};

/* ---- Preparing warps: tokens come ------------------------------------------------------- */

static __device__ __forceinline__ struct lane_weights lane_weights_load(const struct scan &p,
                                                                        uint32_t channel)
{
    struct lane_weights weights;
    weights.k_k = cuda_float2_load(p.k_k + channel);
    weights.k_a = cuda_float2_load(p.k_a + channel);
    weights.r_k = cuda_float2_load(p.r_k + channel);
    weights.ln_weight = cuda_float2_load(p.ln_weight + channel);
    weights.ln_bias = cuda_float2_load(p.ln_bias + channel);
    return weights;
}

/* A lane's share of the copy of two tokens: halves by 8 lanes a vector, floats by 16. */
struct raw_source {
    const cuda_half *half, *v; /* v: lanes 0 to 15. */
    const float *log_w, *a;
    uint32_t C, row_count;
    uint32_t half_token, float_token; /* Which of the two. */
    uint32_t half_at, v_at, float_at; /* Bytes in the pair of raw tokens. */
};

static __device__ __forceinline__ struct raw_source
raw_source_of(const struct scan &p, const struct task &task, uint32_t lane)
{
    const size_t at = (size_t)task.first_row * p.C + task.head * CUDA_HEAD;
    struct raw_source from;
    from.C = p.C;
    from.row_count = task.row_count;
    from.half_token = lane / 8 % 2;
    from.float_token = lane / 16;
    from.half = p.rkv + lane / 16 * p.plane + at + lane % 8 * 8;
    from.v = p.rkv + 2 * p.plane + at + lane % 8 * 8;
    from.log_w = p.log_w + at + lane % 16 * 4;
    from.a = p.a + at + lane % 16 * 4;
    from.half_at = from.half_token * (uint32_t)sizeof(struct raw_token) + lane % 8 * 16;
    from.v_at = from.half_at + 4 * CUDA_HEAD;
    from.half_at += lane / 16 * 2 * CUDA_HEAD;
    from.float_at = from.float_token * (uint32_t)sizeof(struct raw_token) + 6 * CUDA_HEAD
                    + lane % 16 * 16;
    return from;
}

/* Starts the copy of tokens first and first + 1; beyond the item they become zeros. */
static __device__ __forceinline__ void raw_load(struct raw_token *to, const struct raw_source &from,
                                                uint32_t first, uint32_t lane)
{
    char *bytes = (char *)to;
    uint32_t token = first + from.half_token;
    bool valid = token < from.row_count;
    size_t at = (size_t)(valid ? token : 0) * from.C;
    cuda_copy_16(bytes + from.half_at, from.half + at, valid);
    if (lane < 16) {
        cuda_copy_16(bytes + from.v_at, from.v + at, valid);
    }
    token = first + from.float_token;
    valid = token < from.row_count;
    at = (size_t)(valid ? token : 0) * from.C;
    cuda_copy_16(bytes + from.float_at, from.log_w + at, valid);
    cuda_copy_16(bytes + from.float_at + 4 * CUDA_HEAD, from.a + at, valid);
}

/* A warp's pairs of a block of tokens. */
template <class LAYOUT>
static __device__ __forceinline__ void raw_load_own(struct raw_token *to,
                                                    const struct raw_source &from, uint32_t first,
                                                    uint32_t warp, uint32_t lane)
{
#pragma unroll
    for (uint32_t i = 0; i < LAYOUT::PAIRS / LAYOUT::PREPARERS; i++) {
        const uint32_t at = (warp + i * LAYOUT::PREPARERS) * 2;
        raw_load(&to[at], from, first + at, lane);
    }
    cuda_copy_commit();
}

/* ---- Preparing warps: y leaves ----------------------------------------------------------- */

/* The block has a part of the rows: the second kernel needs y, and the bonus, which waits for it
 * in the head's place of the output. */
template <class LAYOUT>
static __device__ __forceinline__ void y_store(const struct scan &p, const struct task &task,
                                               const float *from, const float *bonus,
                                               uint32_t first, uint32_t lane)
{
    const size_t at = (size_t)(task.first_row + first) * p.C + task.head * CUDA_HEAD;
    if (lane < LAYOUT::BLOCK_ROWS && first < task.row_count) {
        const float2 y = cuda_float2_load(from + y_index<LAYOUT::ROWS, LAYOUT::LANES>(lane));
        p.y[at + task.first_value + lane] = y.x;
        if (first + 1 < task.row_count) {
            p.y[at + p.C + task.first_value + lane] = y.y;
        }
    }
    if (task.first_value == 0 && lane < 2 && first + lane < task.row_count) {
        *(float *)(void *)(p.out + at + lane * p.C) = bonus[lane];
    }
}

/* The block has all rows. */
template <class LAYOUT>
static __device__ __forceinline__ void output_store(const struct scan &p, const struct task &task,
                                                    const float *from,
                                                    const struct raw_token *raw,
                                                    const float *bonus,
                                                    const struct lane_weights &weights,
                                                    uint32_t first, uint32_t lane)
{
    const float4 rows =
        cuda_float4_load(from + y_index<LAYOUT::ROWS, LAYOUT::LANES>(lane * 2));
    const size_t at = (size_t)(task.first_row + first) * p.C + task.head * CUDA_HEAD + lane * 2;
    float2 gate[2] = {};
#pragma unroll
    for (uint32_t t = 0; t < 2; t++) {
        if (first + t < task.row_count) {
            gate[t] = cuda_float2_load(p.gate + at + t * p.C);
        }
    }
    const float2 sum = warp_sum2(rows.x + rows.z, rows.y + rows.w, lane);
    const float2 mean = make_float2(sum.x * (1.0f / CUDA_HEAD), sum.y * (1.0f / CUDA_HEAD));
    const float2 d[2] = {make_float2(rows.x - mean.x, rows.z - mean.x),
                         make_float2(rows.y - mean.y, rows.w - mean.y)};
    const float2 squares = warp_sum2(cuda_pair_dot(d[0], d[0]), cuda_pair_dot(d[1], d[1]), lane);
#pragma unroll
    for (uint32_t t = 0; t < 2; t++) {
        if (first + t < task.row_count) {
            const float2 out = cuda_head_output_of(
                d[t], t == 0 ? squares.x : squares.y, weights.ln_weight, weights.ln_bias, bonus[t],
                cuda_half2_load(raw[t].rkv[2] + lane * 2), gate[t]);
            cuda_half2_store(p.out + at + t * p.C, out.x, out.y);
        }
    }
}

template <class LAYOUT>
static __device__ __forceinline__ void
pair_leave(const struct scan &p, const struct task &task, const struct lane_weights &weights,
           const float *y, const struct raw_token *raw, const float *bonus, uint32_t first,
           uint32_t lane)
{
    if (LAYOUT::SPLITS == 1) {
        output_store<LAYOUT>(p, task, y, raw, bonus, weights, first, lane);
    } else {
        y_store<LAYOUT>(p, task, y, bonus, first, lane);
    }
}

/* ---- The kernels ------------------------------------------------------------------------- */

/* Round n scans tokens of block n, prepares those of n + 1, loads those of n + 2 and writes the y
 * of n - 1. Both kinds of warps pass the same number of barriers: one before the first round, one
 * after each of the rounds -1 to `blocks`. The first round only prepares, the last only writes. A
 * pair is always the same warp's. */
template <class LAYOUT>
static __device__ __forceinline__ void prepare_all(LAYOUT *shared, const struct scan &p,
                                                   const struct task &task,
                                                   const struct lane_weights &weights)
{
    constexpr int OWN = LAYOUT::PAIRS / LAYOUT::PREPARERS;
    const uint32_t warp = (threadIdx.x - LAYOUT::SCAN_THREADS) / 32, lane = threadIdx.x % 32;
    const int blocks = (int)((task.row_count + LAYOUT::TOKENS - 1) / LAYOUT::TOKENS);
    const struct raw_source from = raw_source_of(p, task, lane);
    raw_load_own<LAYOUT>(shared->raw[0], from, 0, warp, lane);
    raw_load_own<LAYOUT>(shared->raw[1], from, LAYOUT::TOKENS, warp, lane);
    cuda_copy_wait<0>();
    __syncthreads();
    for (int n = -1; n <= blocks; n++) {
        const int other = (n & 1) ^ 1; /* Of pairs and y: not the one that is scanned. */
        const int before = (n + 3) & 3, after = (n + 1) & 3, load = (n + 2) & 3;
        if (n >= 0) {
            raw_load_own<LAYOUT>(shared->raw[load], from, (uint32_t)(n + 2) * LAYOUT::TOKENS, warp,
                                 lane);
        }
#pragma unroll 1
        for (uint32_t i = 0; i < OWN; i++) {
            const uint32_t q = warp + i * LAYOUT::PREPARERS;
            struct pair *pair = &shared->pairs[other][q];
            if (n >= 1) {
                const uint32_t first = (uint32_t)(n - 1) * LAYOUT::TOKENS + 2 * q;
                pair_leave<LAYOUT>(p, task, weights, shared->y[other][q + 1],
                                   &shared->raw[before][2 * q], &pair->sums[2], first, lane);
                __syncwarp(); /* The bonus was read. */
            }
            if (n + 1 < blocks) {
                pair_prepare(pair, &shared->raw[after][2 * q], weights, lane);
            }
        }
        cuda_copy_wait<0>();
        __syncthreads();
    }
}

template <class LAYOUT>
static __device__ __forceinline__ void scan_all(LAYOUT *shared, const struct task &task)
{
    constexpr int ROWS = LAYOUT::ROWS, LANES = LAYOUT::LANES, CHUNKS = CUDA_HEAD / 4 / LANES;
    const struct scan_part part = scan_part_of<ROWS, LANES>(threadIdx.x);
    const uint32_t value = task.first_value + part.row;
    struct columns<CHUNKS> s[ROWS];
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++) {
        s[i] = columns_load<LANES>(task.state_in + (value + (i ^ part.flip)) * CUDA_HEAD,
                                   part.column);
    }
    const int blocks = (int)((task.row_count + LAYOUT::TOKENS - 1) / LAYOUT::TOKENS);
    __syncthreads();
    __syncthreads();
    for (int n = 0; n < blocks; n++) {
        block_scan<ROWS, LANES, LAYOUT::PAIRS>(s, shared->pairs[n & 1], shared->raw[n & 3],
                                               shared->y[n & 1], part, value);
        __syncthreads();
    }
    __syncthreads();
    if (task.state_out != NULL) {
#pragma unroll
        for (uint32_t i = 0; i < ROWS; i++) {
            float *to = task.state_out + (value + (i ^ part.flip)) * CUDA_HEAD + part.column;
#pragma unroll
            for (int m = 0; m < CHUNKS; m++) {
                cuda_float4_store(to + m * LANES * 4, s[i].chunk[m]);
            }
        }
    }
}

template <int ROWS, int LANES, int WARPS, int PREPARERS, int TOKENS, int BLOCKS>
__global__ void __launch_bounds__((WARPS + PREPARERS) * 32, BLOCKS) wkv_scan_kernel(struct scan p)
{
    typedef struct scan_shared<ROWS, LANES, WARPS, PREPARERS, TOKENS> layout;
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(dynamic);
    layout *shared = (layout *)(void *)dynamic;
    struct task task;
    task.head = blockIdx.x / layout::SPLITS;
    task.first_value = blockIdx.x % layout::SPLITS * layout::BLOCK_ROWS;
    const bool is_scanner = threadIdx.x < layout::SCAN_THREADS;
    struct lane_weights weights = {};
    if (!is_scanner) {
        weights = lane_weights_load(p, task.head * CUDA_HEAD + threadIdx.x % 32 * 2);
    }
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
    if (is_scanner) {
        scan_all(shared, task);
    } else {
        prepare_all(shared, p, task, weights);
    }
}

static __device__ __forceinline__ float head_sum(float value)
{
#pragma unroll
    for (int offset = FINISH_LANES / 2; offset > 0; offset >>= 1) {
        value += __shfl_xor_sync(CUDA_WARP_ALL, value, offset);
    }
    return value;
}

/* Block (x, y): row x, channels from y * FINISH_THREADS * 4, 4 a thread. What a row holds is loaded
 * before it is known whether it is one of a scan; nothing is written then. */
__global__ void __launch_bounds__(FINISH_THREADS) wkv_finish_kernel(struct scan p)
{
    cuda_dependency_trigger();
    const uint32_t own = (blockIdx.y * FINISH_THREADS + threadIdx.x) * 4;
    const uint32_t channel = own < p.C ? own : 0;
    const float4 weight = cuda_float4_load(p.ln_weight + channel);
    const float4 bias = cuda_float4_load(p.ln_bias + channel);
    cuda_dependency_wait();
    const size_t at = (size_t)blockIdx.x * p.C + channel;
    const float4 y = cuda_float4_load(p.y + at);
    const float4 gate = cuda_float4_load(p.gate + at);
    const float4 v = cuda_half4_load(p.rkv + 2 * p.plane + at);
    const float bonus = *(const float *)(const void *)(p.out + at / CUDA_HEAD * CUDA_HEAD);
    if (blockIdx.x >= p.step.header->row_count
        || p.step.places[p.step.row_item[blockIdx.x]].row_count < 2) {
        return;
    }
    const float mean = head_sum((y.x + y.y) + (y.z + y.w)) * (1.0f / CUDA_HEAD);
    const float2 d[2] = {make_float2(y.x - mean, y.y - mean), make_float2(y.z - mean, y.w - mean)};
    const float squares = head_sum(cuda_pair_dot(d[0], d[0]) + cuda_pair_dot(d[1], d[1]));
    const float2 low =
        cuda_head_output_of(d[0], squares, make_float2(weight.x, weight.y),
                            make_float2(bias.x, bias.y), bonus, make_float2(v.x, v.y),
                            make_float2(gate.x, gate.y));
    const float2 high =
        cuda_head_output_of(d[1], squares, make_float2(weight.z, weight.w),
                            make_float2(bias.z, bias.w), bonus, make_float2(v.z, v.w),
                            make_float2(gate.z, gate.w));
    __syncwarp(); /* The bonus was read by all lanes of the head. */
    if (own < p.C) {
        cuda_half4_store(p.out + at, make_float4(low.x, low.y, high.x, high.y));
    }
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

static cudaError_t finish_launch(const struct cuda_launch *launch, const struct scan *p)
{
    const dim3 grid(launch->row_capacity, (p->C / 4 + FINISH_THREADS - 1) / FINISH_THREADS);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(FINISH_THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config, wkv_finish_kernel, *p);
}

/* cudaErrorInvalidValue when the device has too little shared memory for so many TOKENS. BLOCKS: of
 * a multiprocessor, by registers. */
template <int ROWS, int LANES, int WARPS, int PREPARERS, int TOKENS, int BLOCKS>
static cudaError_t variant_launch(const struct cuda_launch *launch, const struct scan *p,
                                  uint32_t items)
{
    typedef struct scan_shared<ROWS, LANES, WARPS, PREPARERS, TOKENS> layout;
    void (*kernel)(struct scan) = wkv_scan_kernel<ROWS, LANES, WARPS, PREPARERS, TOKENS, BLOCKS>;
    const uint32_t shared_bytes = cuda_alone_bytes(
        launch, (uint64_t)p->H * layout::SPLITS * items, (uint32_t)sizeof(layout));
    const cudaError_t code = cuda_launch_shared(launch, kernel, dim3(p->H * layout::SPLITS, items),
                                                layout::THREADS, shared_bytes, *p);
    return code == cudaSuccess && layout::SPLITS > 1 ? finish_launch(launch, p) : code;
}

/* As many rows of S per block as still leaves every multiprocessor a block. */
enum scan_layout {
    SCAN_16_ROWS,
    SCAN_32_ROWS,
    SCAN_64_ROWS,
    SCAN_64_ROWS_TWICE, /* Two blocks of a multiprocessor fill each other's waits. */
};

static enum scan_layout layout_choose(const struct cuda_launch *launch, uint64_t heads)
{
    return heads * 4 <= launch->multiprocessors   ? SCAN_16_ROWS
           : heads * 2 <= launch->multiprocessors ? SCAN_32_ROWS
           : heads <= launch->multiprocessors     ? SCAN_64_ROWS
                                                  : SCAN_64_ROWS_TWICE;
}

template <int TOKENS>
static cudaError_t tokens_launch(const struct cuda_launch *launch, const struct scan *p,
                                 uint32_t items)
{
    switch (layout_choose(launch, (uint64_t)p->H * items)) {
    case SCAN_16_ROWS:
        return variant_launch<2, 16, 4, TOKENS / 2, TOKENS, 1>(launch, p, items);
    case SCAN_32_ROWS:
        return variant_launch<4, 16, 4, TOKENS / 2, TOKENS, 1>(launch, p, items);
    case SCAN_64_ROWS:
        return variant_launch<4, 8, 4, TOKENS / 2, TOKENS, 1>(launch, p, items);
    case SCAN_64_ROWS_TWICE:
        return variant_launch<4, 8, 4, 4, TOKENS, 2>(launch, p, items);
    }
    return cudaErrorInvalidValue;
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
    const cudaError_t code = tokens_launch<16>(launch, &p, items);
    if (code != cudaErrorInvalidValue) {
        return code;
    }
    cudaGetLastError(); /* Not an error of the step: sm_75 has 64 KiB. */
    return tokens_launch<8>(launch, &p, items);
}
