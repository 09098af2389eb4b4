/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_recurrence.cu - low-rank products up and the recurrence of 1 to 4 rows.
 *
 * Computes  what cuda_low_rank_up.cu and then cuda_wkv_decode.cu do, in one launch; decay, rate,
 *           gate and the mixed v never leave the block, and rkv's v stays as it was.
 * Bytes     weights 2 C sum(Q): 7.2B 6.8 MB, 1.5B 2.1 MB; state 512 C per row.
 * Floor     at 4.3 TB/s: 7.2B 1.6 us and 0.5 us per row, 1.5B 0.5 and 0.2. Once they are there, a
 *           block reads its weights from shared memory: 64 sum(Q) 2 / 128 clocks, 0.4 us at 7.2B.
 * Grid      one block per head and row, or two rows: the products of two cost what those of one
 *           cost, and of four rows a head's weights are read twice, the second time from the
 *           second-level cache. Four rows in one block would leave half of a large GPU idle.
 *           Half of the warps multiply. They ask for the weights, a head's of each matrix, before
 *           the wait, and do W, A and V first, whose weights are in registers when hidden comes.
 *           The others have the state in registers, asked for before the wait, 16 lanes a row of
 *           S. While those multiply they normalise k and read S with it; while they advance S the
 *           gate is multiplied. A lane knows all of its four keys by itself; only products, y and
 *           v are exchanged.
 * Portable  without bulk copies the weights come by copies of 16 bytes, the same sums in the same
 *           order. Where a head's weights do not fit into shared memory: the two launches.
 * Numerics  f16 in, f32 sums in an order that depends on the ranks alone: a row has the same bits
 *           whatever its company. v is rounded to f16 as it is on the way through memory.
 * Requires  ranks a multiple of 16; pointers aligned to 16 bytes; one item a row. */
#include "cuda/cuda_barrier.cuh"
#include "cuda/cuda_few_rows_up.cuh"
#include "cuda/cuda_place.cuh"
#include "cuda/cuda_wkv_decode.cuh"

enum {
    RECURRENCE_THREADS = 256,
    THREADS = FEW_UP_THREADS + RECURRENCE_THREADS,
};

enum barrier {
    BARRIER_ALL,      /* __syncthreads: the weights are asked for. */
    BARRIER_HIDDEN,   /* hidden is there, for those who multiply. */
    BARRIER_PRODUCTS, /* W, A and V are there; without bulk copies only. */
    BARRIER_OUTPUT,   /* The gate, y and v are there. */
};

struct recurrence {
    struct cuda_step step;
    struct few_up up;
    const cuda_half *r, *k, *v; /* [N][C] */
    cuda_half *v_first;
    const float *k_k, *k_a, *r_k, *ln_weight, *ln_bias;
    cuda_half *out;
    uint32_t C, item_capacity;
    size_t layer_at; /* Of the layer in a slot's S. */
    size_t slot_wkv; /* Floats of a slot's S. */
};

/* What the warps of a block exchange beside the operands of the products. */
template <int ROWS> struct exchange {
    struct few_up_results<ROWS> up;
    float y[ROWS][CUDA_HEAD], v[ROWS][CUDA_HEAD];
    uint64_t full[CUDA_LOW_RANKS]; /* The weights of a group are there. */
    uint64_t products;             /* W, A and V are there. */
};

/* One row of the block. One that does not exist is computed from row 0 and slot 0, and nothing of
 * it is kept. */
struct row {
    bool exists, is_active;
    uint32_t at, slot, source_slot;
};

static __device__ __forceinline__ struct row row_of(const struct recurrence &p, uint32_t index)
{
    const bool fits = index < p.item_capacity;
    const struct cuda_item item = p.step.items[fits ? index : 0];
    struct row row = {};
    row.exists = index < p.step.header->item_count && fits && item.row_count == 1;
    if (row.exists) {
        row.is_active = cuda_item_is_active(p.step, item);
        row.at = item.first_row;
        row.slot = item.slot;
        row.source_slot = item.source_slot;
    }
    return row;
}

/* ---- Products ---------------------------------------------------------------------------- */

/* Until the weights of a group are there. */
template <bool BULK>
static __device__ __forceinline__ void await_weights(const struct few_up_group &group,
                                                     uint64_t *full)
{
    if (BULK && group.rank != 0) {
        cuda_mbarrier_wait(full, 0);
    }
}

/* By those who multiply: w, a and v_part are written. */
template <int ROWS, bool BULK>
static __device__ __forceinline__ void tell_products(struct exchange<ROWS> *block)
{
    if (!BULK) {
        cuda_barrier_arrive(BARRIER_PRODUCTS, THREADS);
        return;
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        cuda_mbarrier_arrive(&block->products);
    }
}

/* By the others. A loop, because a barrier instruction would not keep the compiler from doing after
 * it what can be done before. */
template <int ROWS, bool BULK>
static __device__ __forceinline__ void await_products(struct exchange<ROWS> *block)
{
    if (BULK) {
        cuda_mbarrier_wait(&block->products, 0);
    } else {
        cuda_barrier_sync(BARRIER_PRODUCTS, THREADS);
    }
}

/* Starts copying hidden of the block's rows. The dependency wait is in here: where the first pieces
 * are is known before. */
template <int ROWS>
static __device__ __forceinline__ void copy_hidden(const struct recurrence &p,
                                                   unsigned char *shared)
{
    struct row rows[ROWS];
    const cuda_half *from[ROWS];
    uint32_t i = threadIdx.x;
#pragma unroll
    for (int n = 0; n < ROWS; n++) {
        rows[n] = row_of(p, blockIdx.y * ROWS + n);
        from[n] = few_up_piece(p.up, i, rows[n].at);
    }
    unsigned char *to = shared + p.up.hidden_at;
    cuda_dependency_wait();
#pragma unroll 1
    while (i < p.up.pieces) {
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            cuda_copy_16(to + n * p.up.hidden_stride + i * 16, from[n], rows[n].exists);
        }
        i += FEW_UP_THREADS;
#pragma unroll
        for (int n = 0; n < ROWS; n++) {
            from[n] = few_up_piece(p.up, i, rows[n].at);
        }
    }
    cuda_copy_commit();
}

/* The gate, by even and odd steps. */
template <int ROWS, bool BULK>
static __device__ __forceinline__ void multiply_gate(const struct recurrence &p, uint32_t part,
                                                     struct few_up_lane lane,
                                                     const unsigned char *shared,
                                                     struct exchange<ROWS> *block)
{
    const struct few_up_group &group = p.up.group[CUDA_LOW_G];
    const struct few_up_range range =
        few_up_range_of<ROWS>(p.up, group, lane, shared, part * FEW_UP_K, 2 * FEW_UP_K);
    struct few_up_tile tile;
    await_weights<BULK>(group, &block->full[CUDA_LOW_G]);
    few_up_tile_load(&tile, range, range.first);
    few_up_store<ROWS>(block->up.gate[part], lane, few_up_multiply(&tile, range));
}

/* The first four warps W, the others A and V, then all of them the gate. */
template <int ROWS, bool BULK>
static __device__ __forceinline__ void multiply(const struct recurrence &p, unsigned char *shared,
                                                struct exchange<ROWS> *block)
{
    const uint32_t part = threadIdx.x / 32 / FEW_UP_TILES;
    const struct few_up_lane lane = few_up_lane_of(threadIdx.x / 32 % FEW_UP_TILES);
    const uint32_t channel = blockIdx.x * CUDA_HEAD + few_up_channel(lane);
    const uint32_t g = part == 0 ? CUDA_LOW_W : CUDA_LOW_A;
    const struct few_up_group &group = p.up.group[g], &v_group = p.up.group[CUDA_LOW_V];
    const bool mixes = part == 1 && v_group.rank != 0;
    const float4 bias = few_up_bias(group.bias, channel);
    const float4 v_bias = few_up_bias(mixes ? v_group.bias : group.bias, channel);
    const struct few_up_range range =
        few_up_range_of<ROWS>(p.up, group, lane, shared, 0, FEW_UP_K);
    const struct few_up_range v_range =
        few_up_range_of<ROWS>(p.up, v_group, lane, shared, 0, FEW_UP_K);
    struct few_up_tile tile, v_tile;
    copy_hidden<ROWS>(p, shared);
    await_weights<BULK>(group, &block->full[g]);
    few_up_tile_load(&tile, range, 0);
    if (mixes) {
        await_weights<BULK>(v_group, &block->full[CUDA_LOW_V]);
        few_up_tile_load(&v_tile, v_range, 0);
    }
    cuda_copy_wait<0>();
    cuda_barrier_sync(BARRIER_HIDDEN, FEW_UP_THREADS);
    const float4 sums = few_up_multiply(&tile, range);
    if (part == 0) {
        const float4 log_w = up_sigmoids(sums, bias, -UP_DECAY_SCALE);
        few_up_store<ROWS>(block->up.w, lane,
                           make_float4(cuda_decay(log_w.x), cuda_decay(log_w.y),
                                       cuda_decay(log_w.z), cuda_decay(log_w.w)));
    } else {
        few_up_store<ROWS>(block->up.a, lane, up_sigmoids(sums, bias, 1.0f));
    }
    if (mixes) {
        few_up_store<ROWS>(block->up.v_part, lane,
                           up_sigmoids(few_up_multiply(&v_tile, v_range), v_bias, 1.0f));
    }
    tell_products<ROWS, BULK>(block);
    multiply_gate<ROWS, BULK>(p, part, lane, shared, block);
    cuda_barrier_arrive(BARRIER_OUTPUT, THREADS);
}

/* ---- Recurrence -------------------------------------------------------------------------- */

/* Where a thread is: `own` of its row, whose rows of S begin at first. */
template <int ROWS> struct seat {
    static constexpr int THREADS_OF_ROW = RECURRENCE_THREADS / ROWS;
    static constexpr int S_ROWS = CUDA_HEAD * WKV_LANES / THREADS_OF_ROW; /* Of a thread. */
    static constexpr int QUADS = S_ROWS / 4;
    uint32_t row, own, lane, first;
};

template <int ROWS> static __device__ __forceinline__ struct seat<ROWS> seat_of(void)
{
    const uint32_t thread = threadIdx.x - FEW_UP_THREADS;
    struct seat<ROWS> seat;
    seat.row = thread / seat.THREADS_OF_ROW;
    seat.own = thread % seat.THREADS_OF_ROW;
    seat.lane = seat.own % WKV_LANES;
    seat.first = seat.own / WKV_LANES * seat.S_ROWS;
    return seat;
}

/* The layer's vectors for a lane's four keys. */
struct key_weights {
    float4 k_k, k_a, r_k;
};

/* v and v_first of a thread's rows of S. */
template <int ROWS> struct values {
    uint2 v[seat<ROWS>::QUADS], first[seat<ROWS>::QUADS];
};

static __device__ __forceinline__ float4 multiply_4(float4 x, float4 y)
{
    return make_float4(x.x * y.x, x.y * y.y, x.z * y.z, x.w * y.w);
}

static __device__ __forceinline__ float4 removal_keys(float4 k, float4 k_k)
{
    const float4 kk = multiply_4(k, k_k);
    float squares = wkv_dot(kk, kk);
    wkv_row_sums<1>(&squares);
    const float2 low = cuda_removal_key_of(make_float2(kk.x, kk.y), squares);
    const float2 high = cuda_removal_key_of(make_float2(kk.z, kk.w), squares);
    return make_float4(low.x, low.y, high.x, high.y);
}

static __device__ __forceinline__ float4 replacement_keys(float4 k, float4 a, float4 k_a)
{
    const float2 low = cuda_replacement_key(make_float2(k.x, k.y), make_float2(a.x, a.y),
                                            make_float2(k_a.x, k_a.y));
    const float2 high = cuda_replacement_key(make_float2(k.z, k.w), make_float2(a.z, a.w),
                                             make_float2(k_a.z, k_a.w));
    return make_float4(low.x, low.y, high.x, high.y);
}

/* Layer 0 has no v_first yet: it becomes v. `at`: of the head in [N][C]. */
template <int ROWS>
static __device__ __forceinline__ void load_values(const struct recurrence &p,
                                                   const struct seat<ROWS> &seat, size_t at,
                                                   struct values<ROWS> *values)
{
    const bool mixes = p.up.group[CUDA_LOW_V].rank != 0;
#pragma unroll
    for (int n = 0; n < seat.QUADS; n++) {
        const size_t from = at + seat.first + n * 4;
        values->v[n] = *(const uint2 *)(const void *)(p.v + from);
        values->first[n] = mixes ? *(const uint2 *)(const void *)(p.v_first + from)
                                 : values->v[n];
    }
}

/* v += (v_first - v) part; in layer 0 v is v_first and stays. The row's first lane leaves v for the
 * output. */
template <int ROWS>
static __device__ __forceinline__ void mix_values(const struct recurrence &p,
                                                  const struct seat<ROWS> &seat,
                                                  const struct values<ROWS> &values,
                                                  struct exchange<ROWS> *block, float *v_out)
{
#pragma unroll
    for (int n = 0; n < seat.QUADS; n++) {
        const uint32_t channel = seat.first + n * 4;
        __align__(8) cuda_half v[4];
        *(uint2 *)(void *)v = values.v[n];
        if (p.up.group[CUDA_LOW_V].rank != 0) {
            up_mix_value(v, values.v[n], values.first[n],
                         cuda_float4_load(block->up.v_part[seat.row] + channel));
        }
        const float4 mixed = cuda_half4_load(v);
        v_out[n * 4] = mixed.x;
        v_out[n * 4 + 1] = mixed.y;
        v_out[n * 4 + 2] = mixed.z;
        v_out[n * 4 + 3] = mixed.w;
        if (seat.lane == 0) {
            cuda_float4_store(block->v[seat.row] + channel, mixed);
        }
    }
}

/* After the last barrier, by the first warp of a row: two channels a lane. */
template <int ROWS>
static __device__ __forceinline__ void finish(const struct recurrence &p,
                                              const struct exchange<ROWS> &block,
                                              const struct seat<ROWS> &seat, bool exists,
                                              size_t at, float2 ln_weight, float2 ln_bias,
                                              float bonus)
{
    const uint32_t channel = seat.own * 2;
    const float2 gate = cuda_float2_load(block.up.gate[0][seat.row] + channel);
    const float2 more = cuda_float2_load(block.up.gate[1][seat.row] + channel);
    const float2 out = cuda_head_output(cuda_float2_load(block.y[seat.row] + channel), ln_weight,
                                        ln_bias, bonus,
                                        cuda_float2_load(block.v[seat.row] + channel),
                                        make_float2(gate.x + more.x, gate.y + more.y));
    if (exists) {
        cuda_half2_store(p.out + at + channel, out.x, out.y);
    }
}

template <int ROWS, bool BULK>
static __device__ __forceinline__ void recur(const struct recurrence &p,
                                             struct exchange<ROWS> *block)
{
    const struct seat<ROWS> seat = seat_of<ROWS>();
    constexpr int S_ROWS = seat.S_ROWS;
    const struct row row = row_of(p, blockIdx.y * ROWS + seat.row);
    const uint32_t channel = blockIdx.x * CUDA_HEAD;
    const size_t state_at = p.layer_at + (size_t)blockIdx.x * WKV_STATE_FLOATS
                            + seat.first * CUDA_HEAD + seat.lane * 4;
    const float *state_in = p.step.wkv + row.source_slot * p.slot_wkv + state_at;
    float4 s[S_ROWS];
#pragma unroll
    for (int i = 0; i < S_ROWS; i++) {
        s[i] = cuda_float4_load(state_in + i * CUDA_HEAD);
    }
    const uint32_t key = channel + seat.lane * 4;
    const struct key_weights weights = {cuda_float4_load(p.k_k + key),
                                        cuda_float4_load(p.k_a + key),
                                        cuda_float4_load(p.r_k + key)};
    const uint32_t pair = channel + seat.own % 32 * 2;
    const float2 ln_weight = cuda_float2_load(p.ln_weight + pair);
    const float2 ln_bias = cuda_float2_load(p.ln_bias + pair);
    cuda_dependency_wait();
    const size_t at = (size_t)row.at * p.C + channel;
    const float4 r = cuda_half4_load(p.r + at + seat.lane * 4);
    const float4 k = cuda_half4_load(p.k + at + seat.lane * 4);
    struct values<ROWS> values;
    load_values<ROWS>(p, seat, at, &values);
    const float4 kk = removal_keys(k, weights.k_k);
    float removed[S_ROWS];
    wkv_removed<S_ROWS>(s, kk, removed);
    await_products<ROWS, BULK>(block);
    const float4 a = cuda_float4_load(block->up.a[seat.row] + seat.lane * 4);
    const float4 w = cuda_float4_load(block->up.w[seat.row] + seat.lane * 4);
    const float4 new_k = replacement_keys(k, a, weights.k_a);
    const struct wkv_keys keys = {kk, w, multiply_4(kk, a), new_k, r};
    float v[S_ROWS], y[S_ROWS];
    mix_values<ROWS>(p, seat, values, block, v);
    wkv_advance<S_ROWS>(s, keys, removed, v);
    float *const state_out = p.step.wkv + row.slot * p.slot_wkv + state_at;
#pragma unroll
    for (int i = 0; i < S_ROWS; i++) {
        if (row.is_active) {
            cuda_float4_store(state_out + i * CUDA_HEAD, s[i]);
        }
    }
    wkv_read<S_ROWS>(s, r, y);
    float bonus = wkv_dot(multiply_4(r, new_k), weights.r_k);
    wkv_row_sums<1>(&bonus);
#pragma unroll
    for (int n = 0; n < seat.QUADS; n++) {
        if (seat.lane == 0) {
            cuda_float4_store(block->y[seat.row] + seat.first + n * 4,
                              make_float4(y[n * 4], y[n * 4 + 1], y[n * 4 + 2], y[n * 4 + 3]));
        }
        if (seat.lane == 0 && row.exists && p.up.group[CUDA_LOW_V].rank == 0) {
            *(uint2 *)(void *)(p.v_first + at + seat.first + n * 4) = values.v[n];
        }
    }
    if (seat.own >= 32) {
        cuda_barrier_arrive(BARRIER_OUTPUT, THREADS);
    } else {
        cuda_barrier_sync(BARRIER_OUTPUT, THREADS);
        finish<ROWS>(p, *block, seat, row.exists, at, ln_weight, ln_bias, bonus);
    }
}

template <int ROWS, bool BULK>
__global__ void __launch_bounds__(THREADS, 1)
    few_rows_recurrence_kernel(const __grid_constant__ struct recurrence p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ __align__(16) struct exchange<ROWS> block;
    const uint32_t channel = blockIdx.x * CUDA_HEAD;
    if (!BULK) {
        for (uint32_t g = 0; g < CUDA_LOW_RANKS; g++) {
            few_up_copy(p.up.group[g], channel, shared);
        }
        cuda_copy_commit();
        cuda_copy_wait<0>();
    } else if (threadIdx.x % 32 == 0 && threadIdx.x / 32 < CUDA_LOW_RANKS) {
        const uint32_t g = threadIdx.x / 32;
        if (p.up.group[g].rank != 0) {
            few_up_bring(p.up.group[g], channel, shared, &block.full[g]);
        }
    } else if (threadIdx.x == CUDA_LOW_RANKS * 32) {
        cuda_mbarrier_init(&block.products, FEW_UP_WARPS);
    }
    __syncthreads();
    if (threadIdx.x < FEW_UP_THREADS) {
        multiply<ROWS, BULK>(p, shared, &block);
    } else {
        recur<ROWS, BULK>(p, &block);
    }
}

/* ---- Launcher ---------------------------------------------------------------------------- */

typedef void kernel(const struct recurrence);

static kernel *kernel_of(bool is_one, bool bulk)
{
    if (is_one) {
        return bulk ? few_rows_recurrence_kernel<1, true> : few_rows_recurrence_kernel<1, false>;
    }
    return bulk ? few_rows_recurrence_kernel<2, true> : few_rows_recurrence_kernel<2, false>;
}

static struct recurrence recurrence_of(struct cuda_step step, const struct cuda_shape *shape,
                                       const struct cuda_layer *layer, uint32_t layer_index,
                                       const struct cuda_activations *act)
{
    const size_t plane = (size_t)act->N * shape->C;
    struct recurrence p = {};
    p.step = step;
    p.up = few_up_of(shape, layer, act);
    p.r = act->rkv;
    p.k = act->rkv + plane;
    p.v = act->rkv + 2 * plane;
    p.v_first = act->v_first;
    p.k_k = layer->k_k;
    p.k_a = layer->k_a;
    p.r_k = layer->r_k;
    p.ln_weight = layer->ln_x_weight;
    p.ln_bias = layer->ln_x_bias;
    p.out = act->y_gated;
    p.C = shape->C;
    p.layer_at = (size_t)layer_index * shape->H * WKV_STATE_FLOATS;
    p.slot_wkv = (size_t)shape->L * shape->H * WKV_STATE_FLOATS;
    return p;
}

static cudaError_t two_launches(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_layer *layer,
                                uint32_t layer_index, const struct cuda_activations *act)
{
    const cudaError_t status = cuda_low_rank_up(launch, step, shape, layer, act);
    return status != cudaSuccess
               ? status
               : cuda_wkv_decode(launch, step, shape, layer, layer_index, act);
}

cudaError_t cuda_few_rows_recurrence(const struct cuda_launch *launch, struct cuda_step step,
                                     const struct cuda_shape *shape,
                                     const struct cuda_layer *layer, uint32_t layer_index,
                                     const struct cuda_activations *act)
{
    const uint32_t items = launch->item_capacity;
    if (items < 1 || items > CUDA_FEW_ROWS_MAX || shape->C != shape->H * CUDA_HEAD
        || !low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    const uint32_t rows = items == 1 ? 1 : 2; /* Of a block. */
    const uint32_t static_bytes = (uint32_t)sizeof(struct exchange<2>);
    struct recurrence p = recurrence_of(step, shape, layer, layer_index, act);
    p.item_capacity = items;
    const uint32_t shared_bytes = few_up_lay_out(&p.up, rows);
    if (shared_bytes + static_bytes > cuda_shared_bytes_max()) {
        return two_launches(launch, step, shape, layer, layer_index, act);
    }
    kernel *const run = kernel_of(rows == 1, launch->bulk_copies);
    return cuda_launch_shared(launch, run, dim3(shape->H, cuda_divide_up(items, rows)), THREADS,
                              shared_bytes, p);
}
