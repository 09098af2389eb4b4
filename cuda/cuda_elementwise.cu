/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_elementwise.cu - one row at a time: embedding, layer norms, token shift, relu^2.
 *
 * Computes  n = (x - mean) / sqrt(variance + 1e-5) weight + bias          (LN0, LN1, LN2, LN_out)
 *           plane[m] = n + (n of the row before - n) mix[m]
 *           ffn_hidden = min(relu(ffn_hidden)^2, 65504)
 * Bytes     a row of C channels: embed 6 C; mix_att 4 C in (the row before comes from L2), 12 C
 *           out; mix_ffn 4 C in, 2 C out; relu_squared 4 F. C = 4096, 320 rows: mix_att 21 MB =
 *           5 us at 4.3 TB/s.
 * Grid      ROW_THREADS threads read a whole row, 4 channels each at a time, and keep it in
 *           registers for the two passes of the norm. A row needs the one before it, whose norm is
 *           computed again instead of waited for: rows stay independent. When rows are few, the
 *           mix is split: each block computes the norms of the whole row and writes one piece of
 *           1024 channels, with its weights loaded before the wait.
 * Numerics  f32, two-pass variance, one order of summation whatever the grid; outputs f16.
 * Requires  C a multiple of 64, at most ROW_CHANNELS_MAX. */
#include <math.h>

#include "cuda/cuda_half.cuh"
#include "cuda/cuda_place.cuh"

enum {
    ROW_THREADS = 256,
    ROW_WARPS = ROW_THREADS / 32,
    ITEM_CHANNELS = ROW_THREADS * 4, /* Channels that a block reads with one load per thread. */
    ROW_CHANNELS_MAX = 8 * ITEM_CHANNELS,
};

static const float layer_norm_epsilon = 1e-5f;

/* ---- Rows -------------------------------------------------------------------------------- */

/* This thread's first channel of item i of a row. */
static __device__ __forceinline__ uint32_t channel_of(int item)
{
    return (uint32_t)item * ITEM_CHANNELS + threadIdx.x * 4;
}

template <int ITEMS>
static __device__ __forceinline__ void row_load(float4 *row, const float *from, uint32_t C)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        row[i] = channel_of(i) < C ? cuda_float4_load(from + channel_of(i))
                                   : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

/* Sums of two values over the block, the same in every thread. `sums` is used once. */
static __device__ __forceinline__ float2 block_sum(float2 value, float2 *sums)
{
    value.x = cuda_warp_sum(value.x);
    value.y = cuda_warp_sum(value.y);
    if ((threadIdx.x & 31) == 0) {
        sums[threadIdx.x >> 5] = value;
    }
    __syncthreads();
    float2 total = sums[0];
#pragma unroll
    for (int warp = 1; warp < ROW_WARPS; warp++) {
        total.x += sums[warp].x;
        total.y += sums[warp].y;
    }
    return total;
}

template <int ITEMS> static __device__ __forceinline__ float row_sum(const float4 *row)
{
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        sum += (row[i].x + row[i].y) + (row[i].z + row[i].w);
    }
    return sum;
}

template <int ITEMS>
static __device__ __forceinline__ float row_squares(const float4 *row, float mean, uint32_t C)
{
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (channel_of(i) < C) {
            const float4 d = make_float4(row[i].x - mean, row[i].y - mean, row[i].z - mean,
                                         row[i].w - mean);
            sum = fmaf(d.x, d.x, sum);
            sum = fmaf(d.y, d.y, sum);
            sum = fmaf(d.z, d.z, sum);
            sum = fmaf(d.w, d.w, sum);
        }
    }
    return sum;
}

/* Mean and 1 / deviation of a row. */
struct row_norm {
    float mean, scale;
};

struct row_sums {
    float2 sum[ROW_WARPS], squares[ROW_WARPS];
};

/* Of two rows at once; two barriers. */
template <int ITEMS>
static __device__ __forceinline__ void rows_measure(const float4 *one, const float4 *other,
                                                    uint32_t C, struct row_sums *sums,
                                                    struct row_norm *one_out,
                                                    struct row_norm *other_out)
{
    const float2 sum = block_sum(make_float2(row_sum<ITEMS>(one), row_sum<ITEMS>(other)),
                                 sums->sum);
    one_out->mean = sum.x / (float)C;
    other_out->mean = sum.y / (float)C;
    const float2 squares = block_sum(make_float2(row_squares<ITEMS>(one, one_out->mean, C),
                                                 row_squares<ITEMS>(other, other_out->mean, C)),
                                     sums->squares);
    one_out->scale = 1.0f / sqrtf(squares.x / (float)C + layer_norm_epsilon);
    other_out->scale = 1.0f / sqrtf(squares.y / (float)C + layer_norm_epsilon);
}

static __device__ __forceinline__ float4 normalised(float4 x, struct row_norm norm, float4 weight,
                                                    float4 bias)
{
    return make_float4(fmaf((x.x - norm.mean) * norm.scale, weight.x, bias.x),
                       fmaf((x.y - norm.mean) * norm.scale, weight.y, bias.y),
                       fmaf((x.z - norm.mean) * norm.scale, weight.z, bias.z),
                       fmaf((x.w - norm.mean) * norm.scale, weight.w, bias.w));
}

/* ---- Embedding --------------------------------------------------------------------------- */

struct embed {
    struct cuda_step step;
    const cuda_half *emb;
    const float *weight, *bias;
    float *x;
    uint32_t V, L, C;
    size_t slot_wkv, slot_shift; /* Floats of a slot; of one parity of a slot. */
};

static __device__ void place_fill(const struct embed &p, uint32_t index)
{
    const struct cuda_item item = p.step.items[index];
    const struct cuda_copies copies = cuda_copies_of(p.step, item);
    struct cuda_place place;
    place.wkv_in = p.step.wkv + item.source_slot * p.slot_wkv;
    place.wkv_out = p.step.wkv + item.slot * p.slot_wkv;
    place.shift_in = p.step.shift + copies.in * p.slot_shift;
    place.shift_out = p.step.shift + copies.out * p.slot_shift;
    place.first_row = item.first_row;
    place.row_count = item.row_count;
    place.active = cuda_item_is_active(p.step, item) ? 1 : 0;
    place.slot = item.slot;
    place.parity_out = copies.parity_out;
    place.unused = 0;
    p.step.places[index] = place;
}

/* An inactive row computes something: token 0. */
static __device__ __forceinline__ uint32_t token_of(const struct embed &p, uint32_t row,
                                                    const struct cuda_item &item)
{
    if (!cuda_item_is_active(p.step, item)) {
        return 0;
    }
    const int32_t token = item.tokens_given != 0 ? p.step.row_token[row]
                                                 : p.step.slots[item.slot].last_token;
    return (uint32_t)token < p.V ? (uint32_t)token : 0;
}

template <int ITEMS> __global__ void __launch_bounds__(ROW_THREADS) embed_kernel(struct embed p)
{
    cuda_dependency_trigger();
    __shared__ struct row_sums sums;
    cuda_dependency_wait();
    const uint32_t row = blockIdx.x;
    if (row >= p.step.header->row_count) {
        return;
    }
    const uint32_t index = p.step.row_item[row];
    if (threadIdx.x == 0 && row == p.step.items[index].first_row) {
        place_fill(p, index);
    }
    const cuda_half *from = p.emb + (size_t)token_of(p, row, p.step.items[index]) * p.C;
    float4 x[ITEMS];
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        x[i] = channel_of(i) < p.C ? cuda_half4_load(from + channel_of(i))
                                   : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    struct row_norm norm, same;
    rows_measure<ITEMS>(x, x, p.C, &sums, &norm, &same);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = channel_of(i);
        if (c < p.C) {
            cuda_float4_store(p.x + (size_t)row * p.C + c,
                              normalised(x[i], norm, cuda_float4_load(p.weight + c),
                                         cuda_float4_load(p.bias + c)));
        }
    }
}

/* ---- Token shift ------------------------------------------------------------------------- */

struct mix {
    struct cuda_step step;
    const float *x, *weight, *bias;
    const float *mix;   /* [MIXES][C] */
    cuda_half *to;      /* [MIXES][N][C] */
    size_t shift_at;    /* Of this layer and kind in a slot's shifts. */
    size_t plane;       /* N C */
    uint32_t C;
};

template <int MIXES> struct mix_weights {
    float4 weight, bias, mix[MIXES];
};

template <int MIXES>
static __device__ __forceinline__ void mix_weights_load(struct mix_weights<MIXES> *to,
                                                        const struct mix &p, uint32_t c)
{
    to->weight = cuda_float4_load(p.weight + c);
    to->bias = cuda_float4_load(p.bias + c);
#pragma unroll
    for (int m = 0; m < MIXES; m++) {
        to->mix[m] = cuda_float4_load(p.mix + (size_t)m * p.C + c);
    }
}

/* One row and the row before it. */
struct mix_row {
    const float *shift_in; /* NULL unless the row is its item's first. */
    float *shift_out;      /* NULL unless it is the last of an active one. */
    struct row_norm norm, before;
    uint32_t row;
};

template <int MIXES>
static __device__ __forceinline__ void mix_write(const struct mix &p, const struct mix_row &row,
                                                 uint32_t c, float4 x, float4 x_before,
                                                 const struct mix_weights<MIXES> &w)
{
    const float4 n = normalised(x, row.norm, w.weight, w.bias);
    const float4 before = row.shift_in != NULL
                              ? cuda_float4_load(row.shift_in + c)
                              : normalised(x_before, row.before, w.weight, w.bias);
    if (row.shift_out != NULL) {
        cuda_float4_store(row.shift_out + c, n);
    }
#pragma unroll
    for (int m = 0; m < MIXES; m++) {
        const float4 mixed = make_float4(fmaf(before.x - n.x, w.mix[m].x, n.x),
                                         fmaf(before.y - n.y, w.mix[m].y, n.y),
                                         fmaf(before.z - n.z, w.mix[m].z, n.z),
                                         fmaf(before.w - n.w, w.mix[m].w, n.w));
        cuda_half4_store(p.to + (size_t)m * p.plane + (size_t)row.row * p.C + c, mixed);
    }
}

/* SPLIT: the block writes only piece blockIdx.y. */
template <int ITEMS, int MIXES, bool SPLIT>
__global__ void __launch_bounds__(ROW_THREADS) mix_kernel(struct mix p)
{
    cuda_dependency_trigger();
    __shared__ struct row_sums sums;
    struct mix_weights<MIXES> weights = {};
    if (SPLIT && channel_of((int)blockIdx.y) < p.C) {
        mix_weights_load(&weights, p, channel_of((int)blockIdx.y));
    }
    cuda_dependency_wait();
    struct mix_row row;
    row.row = blockIdx.x;
    if (row.row >= p.step.header->row_count) {
        return;
    }
    const struct cuda_place *place = &p.step.places[p.step.row_item[row.row]];
    const bool is_first = row.row == place->first_row;
    const bool is_last = row.row + 1 == place->first_row + place->row_count;
    row.shift_in = is_first ? place->shift_in + p.shift_at : NULL;
    row.shift_out = is_last && place->active != 0 ? place->shift_out + p.shift_at : NULL;
    float4 x[ITEMS], before[ITEMS];
    row_load<ITEMS>(x, p.x + (size_t)row.row * p.C, p.C);
    row_load<ITEMS>(before, p.x + (size_t)(is_first ? row.row : row.row - 1) * p.C, p.C);
    rows_measure<ITEMS>(x, before, p.C, &sums, &row.norm, &row.before);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = channel_of(i);
        if (c < p.C && (!SPLIT || (uint32_t)i == blockIdx.y)) {
            if (!SPLIT) {
                mix_weights_load(&weights, p, c);
            }
            mix_write<MIXES>(p, row, c, x[i], before[i], weights);
        }
    }
}

/* ---- relu^2, final norm ------------------------------------------------------------------ */

static __device__ __forceinline__ uint32_t relu_squared_pair(uint32_t bits)
{
    const float2 x = cuda_half2_unpack(bits);
    return cuda_half2_pack(cuda_relu_squared_of(x.x), cuda_relu_squared_of(x.y));
}

__global__ void __launch_bounds__(ROW_THREADS)
    relu_squared_kernel(struct cuda_step step, cuda_half *values, uint32_t F)
{
    cuda_dependency_trigger();
    cuda_dependency_wait();
    const size_t count = (size_t)step.header->row_count * (F / 8);
    const size_t stride = (size_t)gridDim.x * ROW_THREADS;
    uint4 *pieces = (uint4 *)(void *)values;
    for (size_t i = (size_t)blockIdx.x * ROW_THREADS + threadIdx.x; i < count; i += stride) {
        uint4 piece = pieces[i];
        piece.x = relu_squared_pair(piece.x);
        piece.y = relu_squared_pair(piece.y);
        piece.z = relu_squared_pair(piece.z);
        piece.w = relu_squared_pair(piece.w);
        pieces[i] = piece;
    }
}

struct final_norm {
    struct cuda_step step;
    const float *x, *weight, *bias;
    cuda_half *to;
    uint32_t C;
    bool advance;
};

static __device__ __forceinline__ void parities_advance(const struct cuda_step &step)
{
    for (uint32_t i = threadIdx.x; i < step.header->item_count; i += ROW_THREADS) {
        if (step.places[i].active != 0) {
            step.slots[step.places[i].slot].parity = step.places[i].parity_out;
        }
    }
}

template <int ITEMS>
__global__ void __launch_bounds__(ROW_THREADS) final_norm_kernel(struct final_norm p)
{
    cuda_dependency_trigger();
    __shared__ struct row_sums sums;
    cuda_dependency_wait();
    if (p.advance && blockIdx.x == 0) {
        parities_advance(p.step);
    }
    if (blockIdx.x >= p.step.header->logit_count) {
        return;
    }
    float4 x[ITEMS];
    row_load<ITEMS>(x, p.x + (size_t)p.step.logit_row[blockIdx.x] * p.C, p.C);
    struct row_norm norm, same;
    rows_measure<ITEMS>(x, x, p.C, &sums, &norm, &same);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = channel_of(i);
        if (c < p.C) {
            cuda_half4_store(p.to + (size_t)blockIdx.x * p.C + c,
                             normalised(x[i], norm, cuda_float4_load(p.weight + c),
                                        cuda_float4_load(p.bias + c)));
        }
    }
}

/* ---- Launchers --------------------------------------------------------------------------- */

static bool row_is_possible(uint32_t C)
{
    return C != 0 && C % CUDA_HEAD == 0 && C <= ROW_CHANNELS_MAX;
}

static uint32_t pieces_of(uint32_t C)
{
    return (C + ITEM_CHANNELS - 1) / ITEM_CHANNELS;
}

/* Picks the instance of a kernel template that holds a row of C channels. */
#define KERNEL_OF_ROW(C, ONE, TWO, FOUR, EIGHT)                                                    \
    (pieces_of(C) <= 1   ? ONE                                                                     \
     : pieces_of(C) <= 2 ? TWO                                                                     \
     : pieces_of(C) <= 4 ? FOUR                                                                    \
                         : EIGHT)

cudaError_t cuda_embed(const struct cuda_launch *launch, struct cuda_step step,
                       const struct cuda_shape *shape, const cuda_half *emb,
                       const float *ln0_weight, const float *ln0_bias,
                       const struct cuda_activations *to)
{
    if (!row_is_possible(shape->C)) {
        return cudaErrorInvalidValue;
    }
    struct embed p = {};
    p.step = step;
    p.emb = emb;
    p.weight = ln0_weight;
    p.bias = ln0_bias;
    p.x = to->x;
    p.V = shape->V;
    p.L = shape->L;
    p.C = shape->C;
    p.slot_wkv = (size_t)shape->L * shape->H * CUDA_HEAD * CUDA_HEAD;
    p.slot_shift = (size_t)shape->L * 2 * shape->C;
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(launch->row_capacity), dim3(ROW_THREADS), 0, attributes);
    void (*kernel)(struct embed) = KERNEL_OF_ROW(shape->C, embed_kernel<1>, embed_kernel<2>,
                                                 embed_kernel<4>, embed_kernel<8>);
    return cudaLaunchKernelEx(&config, kernel, p);
}

template <int MIXES, bool SPLIT>
static cudaError_t mix_launch(const struct cuda_launch *launch, const struct mix *p)
{
    const dim3 grid(launch->row_capacity, SPLIT ? pieces_of(p->C) : 1);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(ROW_THREADS), 0, attributes);
    void (*kernel)(struct mix) =
        KERNEL_OF_ROW(p->C, (mix_kernel<1, MIXES, SPLIT>), (mix_kernel<2, MIXES, SPLIT>),
                      (mix_kernel<4, MIXES, SPLIT>), (mix_kernel<8, MIXES, SPLIT>));
    return cudaLaunchKernelEx(&config, kernel, *p);
}

/* Kind 0: att; 1: ffn. */
static struct mix mix_of(struct cuda_step step, const struct cuda_shape *shape,
                         uint32_t layer_index, uint32_t kind, const struct cuda_activations *act)
{
    struct mix p = {};
    p.step = step;
    p.x = act->x;
    p.shift_at = ((size_t)layer_index * 2 + kind) * shape->C;
    p.plane = (size_t)act->N * shape->C;
    p.C = shape->C;
    return p;
}

static bool few_enough_to_split(const struct cuda_launch *launch)
{
    return launch->row_capacity < launch->multiprocessors;
}

cudaError_t cuda_mix_att(const struct cuda_launch *launch, struct cuda_step step,
                         const struct cuda_shape *shape, const struct cuda_layer *layer,
                         uint32_t layer_index, const struct cuda_activations *act)
{
    if (!row_is_possible(shape->C)) {
        return cudaErrorInvalidValue;
    }
    struct mix p = mix_of(step, shape, layer_index, 0, act);
    p.weight = layer->ln1_weight;
    p.bias = layer->ln1_bias;
    p.mix = layer->mix;
    p.to = act->planes;
    return few_enough_to_split(launch) ? mix_launch<CUDA_MIXES, true>(launch, &p)
                                       : mix_launch<CUDA_MIXES, false>(launch, &p);
}

cudaError_t cuda_mix_ffn(const struct cuda_launch *launch, struct cuda_step step,
                         const struct cuda_shape *shape, const struct cuda_layer *layer,
                         uint32_t layer_index, const struct cuda_activations *act)
{
    if (!row_is_possible(shape->C)) {
        return cudaErrorInvalidValue;
    }
    struct mix p = mix_of(step, shape, layer_index, 1, act);
    p.weight = layer->ln2_weight;
    p.bias = layer->ln2_bias;
    p.mix = layer->ffn_mix;
    p.to = act->ffn_in;
    return few_enough_to_split(launch) ? mix_launch<1, true>(launch, &p)
                                       : mix_launch<1, false>(launch, &p);
}

cudaError_t cuda_relu_squared(const struct cuda_launch *launch, struct cuda_step step,
                              const struct cuda_shape *shape, const struct cuda_activations *act)
{
    if (shape->F % 8 != 0) {
        return cudaErrorInvalidValue;
    }
    const size_t pieces = (size_t)launch->row_capacity * (shape->F / 8);
    const size_t blocks = (pieces + ROW_THREADS - 1) / ROW_THREADS;
    const size_t blocks_max = (size_t)launch->multiprocessors * 8;
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3((uint32_t)(blocks < blocks_max ? blocks : blocks_max)), dim3(ROW_THREADS), 0,
        attributes);
    return cudaLaunchKernelEx(&config, relu_squared_kernel, step, act->ffn_hidden, shape->F);
}

cudaError_t cuda_final_norm(const struct cuda_launch *launch, struct cuda_step step,
                            const struct cuda_shape *shape, uint32_t logit_capacity, bool advance,
                            const float *ln_out_weight, const float *ln_out_bias,
                            const struct cuda_activations *act)
{
    if (!row_is_possible(shape->C)) {
        return cudaErrorInvalidValue;
    }
    struct final_norm p = {};
    p.step = step;
    p.x = act->x;
    p.weight = ln_out_weight;
    p.bias = ln_out_bias;
    p.to = act->head_in;
    p.C = shape->C;
    p.advance = advance;
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, dim3(logit_capacity == 0 ? 1 : logit_capacity),
                           dim3(ROW_THREADS), 0, attributes);
    void (*kernel)(struct final_norm) =
        KERNEL_OF_ROW(shape->C, final_norm_kernel<1>, final_norm_kernel<2>, final_norm_kernel<4>,
                      final_norm_kernel<8>);
    return cudaLaunchKernelEx(&config, kernel, p);
}
