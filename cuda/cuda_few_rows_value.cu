/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_value.cu - second product of the channel mix for 1 to 4 rows, without zeros.
 *
 * Computes  x[row][c] += sum_f hidden[row][f] value[f][c], reading value[f] only where hidden[.][f]
 *           is not zero in all rows. value [F][C] f16, hidden [rows][F] f16, sums f32.
 * Bytes     2 C for each channel that is left: C = 4096, F = 16384: 67 MB when half are zero, 17 MB
 *           at 0.87. Partial sums stay in L2: 4 C rows a slice, written and read once.
 * Floor     at 4.3 TB/s: 15.6 and 4.1 us, and about 4 us to make the list and to join the sums.
 * Grid      stripes of 1024, 512 or 256 columns x slices, one block of 8 warps per multiprocessor
 *           (C = 4096: 4 x 33). Wider stripes make longer copies; narrower ones leave less to the
 *           block that joins. Every block counts the channels left of all F (2 F bytes a row from
 *           L2) and takes an equal share of the list: zeros are not spread evenly, so a fixed slice
 *           of F would make the last block wait for 10 to 25 % more.
 * Bulk      a warp takes groups of channels, every 8th of its block's, through its own ring of 6
 *           slots of 2 KiB: a slot holds one group of 1, 2 or 4 row segments, each its own copy.
 * Portable  the same sums in the same order with 16-byte loads, narrower stripes, two blocks per
 *           multiprocessor.
 * Join      blocks leave partial sums in scratch; the last of a stripe to arrive adds them to x in
 *           the order of slices. No float atomics; the arrival counter returns to zero.
 * Numerics  the order of a sum follows from the list alone: same hidden rows, same bits.
 *           Rows share the list, so that a row's sum may round otherwise in other company.
 * Requires  C a multiple of 64, F of 32; 16-byte aligned pointers; counters zero at first. */
#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_few_rows_list.cuh"

enum {
    WARP_COLUMNS = 32 * VECTOR,     /* Columns of a 16-byte load of a warp. */
    VECTORS_MAX = 4,                /* Loads for a slot; columns of a stripe / WARP_COLUMNS. */
    SLOT_BYTES = VECTORS_MAX * WARP_COLUMNS * 2,
    STAGES = 6,
    JOIN_LOADS = 48,                /* Loads of partial sums on the way at a time. */
    SUMS_MAX_BULK = 8,              /* Vectors x rows: 64 sums in registers; 64 KiB to join them. */
    SUMS_MAX_PLAIN = 4,
    SLICE_CHANNELS_MIN = 32,        /* Smaller slices only make the join longer. */
    SLICE_CHANNELS_MAX = 1024,
    COUNTER_BYTES = 1024,           /* One counter a stripe. */
    SHARED_BYTES_PLAIN = 48 * 1024, /* What every device gives without being asked. */
};

struct value {
    struct cuda_step step;
    const cuda_half *weight; /* [F][C] */
    const cuda_half *hidden; /* [N][F] */
    float *x;                /* [N][C] */
    float *partial;          /* [slices][ROWS][C] */
    uint32_t *arrived;       /* [stripes] */
    uint32_t C, F, slices, list_capacity;
};

/* Shared memory of a block, in bytes from its start. The joining of the warps' sums takes the place
 * of the ring. */
struct layout {
    uint32_t marks;  /* u32 [F / 32]: a bit for each channel that is left. */
    uint32_t ranks;  /* u32 [F / 32]: how many there are before. */
    uint32_t list;   /* u32 [list_capacity] */
    uint32_t values; /* f32 [list_capacity][ROWS] */
    uint32_t bytes;
};

static __host__ __device__ __forceinline__ struct layout layout_of(uint32_t F, uint32_t capacity,
                                                                   uint32_t rows,
                                                                   uint32_t ring_bytes)
{
    struct layout at;
    at.marks = ring_bytes;
    at.ranks = at.marks + F / 8;
    at.list = at.ranks + F / 8;
    at.values = at.list + capacity * 4;
    at.bytes = at.values + capacity * rows * 4;
    return at;
}

static __host__ __device__ constexpr uint32_t ring_bytes_of(int rows, int vectors, bool bulk)
{
    const uint32_t join = (uint32_t)(WARPS * rows * vectors * WARP_COLUMNS) * 4;
    const uint32_t ring = bulk ? (uint32_t)(WARPS * STAGES * SLOT_BYTES) : 0;
    return ring > join ? ring : join;
}

/* ---- Sums -------------------------------------------------------------------------------- */

/* What a warp reads. */
struct stream {
    const cuda_half *weight; /* value, from the stripe's first column on. */
    const uint32_t *list;
    const float *values;     /* [..][ROWS] */
    uint32_t list_count;
    uint32_t columns;        /* Of the stripe: fewer in the last one. */
    uint32_t C;
};

/* The copies of one group: lane i brings segment i. The whole warp calls. */
template <int VECTORS>
static __device__ __forceinline__ void copy_group(const struct stream &s, uint32_t first,
                                                  unsigned char *slot, uint64_t *full)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    if (first >= s.list_count) {
        return;
    }
    const uint32_t lane = threadIdx.x & 31;
    const uint32_t bytes = s.columns * (uint32_t)sizeof(cuda_half);
    const uint32_t segments = s.list_count - first < GROUP ? s.list_count - first : GROUP;
    if (lane == 0) {
        cuda_mbarrier_expect(full, segments * bytes);
    }
    __syncwarp();
    if (lane < segments) {
        cuda_bulk_load(slot + lane * (VECTORS * WARP_COLUMNS * sizeof(cuda_half)),
                       s.weight + (size_t)s.list[first + lane] * s.C, bytes, full);
    }
}

/* sums[row][..] += hidden value of each row times 8 weights. */
template <int ROWS>
static __device__ __forceinline__ void add_vector(float (*sums)[VECTOR], uint4 weights,
                                                  const float *values)
{
    const float2 w0 = cuda_half2_unpack(weights.x), w1 = cuda_half2_unpack(weights.y);
    const float2 w2 = cuda_half2_unpack(weights.z), w3 = cuda_half2_unpack(weights.w);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float value = values[row];
        sums[row][0] = fmaf(value, w0.x, sums[row][0]);
        sums[row][1] = fmaf(value, w0.y, sums[row][1]);
        sums[row][2] = fmaf(value, w1.x, sums[row][2]);
        sums[row][3] = fmaf(value, w1.y, sums[row][3]);
        sums[row][4] = fmaf(value, w2.x, sums[row][4]);
        sums[row][5] = fmaf(value, w2.y, sums[row][5]);
        sums[row][6] = fmaf(value, w3.x, sums[row][6]);
        sums[row][7] = fmaf(value, w3.y, sums[row][7]);
    }
}

/* A group of channels: their segments in a slot, or in the matrix itself. */
template <int ROWS, int VECTORS, bool BULK>
static __device__ __forceinline__ void add_group(float (*sums)[ROWS][VECTOR],
                                                 const struct stream &s, uint32_t first,
                                                 const unsigned char *slot)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    const uint32_t lane = threadIdx.x & 31;
    uint4 weights[GROUP][VECTORS];
#pragma unroll
    for (uint32_t i = 0; i < GROUP; i++) {
        const bool is_there = first + i < s.list_count;
        const cuda_half *row = (const cuda_half *)(const void *)slot + i * VECTORS * WARP_COLUMNS;
        if (!BULK) {
            row = s.weight + (size_t)(is_there ? s.list[first + i] : 0) * s.C;
        }
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const uint32_t column = v * WARP_COLUMNS + lane * VECTOR;
            const uint4 *from = (const uint4 *)(const void *)(row + column);
            weights[i][v] = make_uint4(0, 0, 0, 0);
            if (is_there && column < s.columns) {
                weights[i][v] = BULK ? *from : __ldcs(from);
            }
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < GROUP; i++) {
        if (first + i < s.list_count) {
#pragma unroll
            for (uint32_t v = 0; v < VECTORS; v++) {
                add_vector<ROWS>(sums[v], weights[i][v], s.values + (first + i) * ROWS);
            }
        }
    }
}

/* All groups of this warp. `ring` and `full` are its own. */
template <int ROWS, int VECTORS, bool BULK>
static __device__ __forceinline__ void add_groups(float (*sums)[ROWS][VECTOR],
                                                  const struct stream &s, unsigned char *ring,
                                                  uint64_t *full)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    constexpr uint32_t STEP = WARPS * GROUP;
    uint32_t stage = 0, parity = 0;
    for (uint32_t first = (threadIdx.x >> 5) * GROUP; first < s.list_count; first += STEP) {
        unsigned char *slot = ring + stage * SLOT_BYTES;
        if (BULK) {
            cuda_mbarrier_wait(&full[stage], parity);
        }
        add_group<ROWS, VECTORS, BULK>(sums, s, first, slot);
        if (BULK) {
            __syncwarp();
            copy_group<VECTORS>(s, first + STAGES * STEP, slot, &full[stage]);
            stage = stage + 1 < STAGES ? stage + 1 : 0;
            parity ^= stage == 0 ? 1 : 0;
        }
    }
}

/* ---- Joining ----------------------------------------------------------------------------- */

/* The warps' sums, added in the order of warps, into this slice's partial sums. */
template <int ROWS, int VECTORS>
static __device__ __forceinline__ void join_warps(const struct value &p,
                                                  const float (*sums)[ROWS][VECTOR],
                                                  uint32_t columns, float *joined)
{
    constexpr uint32_t COLUMNS = VECTORS * WARP_COLUMNS;
    const uint32_t lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    __syncthreads(); /* Every warp is done with the ring, where `joined` lies. */
#pragma unroll
    for (uint32_t row = 0; row < ROWS; row++) {
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            float *to = joined + (warp * ROWS + row) * COLUMNS + v * WARP_COLUMNS + lane * VECTOR;
            const float *from = sums[v][row];
            cuda_float4_store(to, make_float4(from[0], from[1], from[2], from[3]));
            cuda_float4_store(to + 4, make_float4(from[4], from[5], from[6], from[7]));
        }
    }
    __syncthreads();
    float *partial = p.partial + (size_t)blockIdx.y * ROWS * p.C + blockIdx.x * COLUMNS;
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t c = threadIdx.x; c < columns; c += THREADS) {
            float sum = joined[row * COLUMNS + c];
#pragma unroll
            for (uint32_t other = 1; other < WARPS; other++) {
                sum += joined[(other * ROWS + row) * COLUMNS + c];
            }
            partial[row * p.C + c] = sum;
        }
    }
}

/* Whether this block is the last of its stripe; the partial sums of the others are then visible. */
static __device__ __forceinline__ bool arrive(const struct value &p, uint32_t *is_last)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* What the block wrote before the barrier comes before the arrival. */
        const uint32_t before = atomicAdd(&p.arrived[blockIdx.x], 1u);
        __threadfence();
        *is_last = before + 1 == p.slices ? 1 : 0;
        if (before + 1 == p.slices) {
            p.arrived[blockIdx.x] = 0; /* For the next launch. */
        }
    }
    __syncthreads();
    return *is_last != 0;
}

/* x += all slices of one row of the stripe, in order. A thread adds VECTORS columns. */
template <int ROWS, int VECTORS>
static __device__ __forceinline__ void join_row(const struct value &p, const float *partial,
                                                uint32_t columns, float *x)
{
    constexpr uint32_t BATCH = JOIN_LOADS / VECTORS_MAX;
    float sums[VECTORS] = {}, before[VECTORS];
#pragma unroll
    for (uint32_t v = 0; v < VECTORS; v++) {
        const uint32_t c = v * WARP_COLUMNS + threadIdx.x;
        before[v] = c < columns ? __ldcg(x + c) : 0.0f;
    }
#pragma unroll 1
    for (uint32_t slice = 0; slice < p.slices; slice += BATCH) {
        float loaded[BATCH][VECTORS];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            const float *from = partial + (size_t)(slice + i) * ROWS * p.C;
#pragma unroll
            for (uint32_t v = 0; v < VECTORS; v++) {
                const uint32_t c = v * WARP_COLUMNS + threadIdx.x;
                loaded[i][v] = slice + i < p.slices && c < columns ? __ldcg(from + c) : 0.0f;
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
#pragma unroll
            for (uint32_t v = 0; v < VECTORS; v++) {
                sums[v] += loaded[i][v];
            }
        }
    }
#pragma unroll
    for (uint32_t v = 0; v < VECTORS; v++) {
        const uint32_t c = v * WARP_COLUMNS + threadIdx.x;
        if (c < columns) {
            x[c] = before[v] + sums[v];
        }
    }
}

/* ---- Kernel ------------------------------------------------------------------------------ */

template <int ROWS>
static __device__ __forceinline__ void gather_values(const struct value &p, const uint32_t *list,
                                                     uint32_t list_count, uint32_t count,
                                                     float *values)
{
    for (uint32_t i = threadIdx.x; i < list_count; i += THREADS) {
#pragma unroll
        for (uint32_t row = 0; row < ROWS; row++) {
            values[i * ROWS + row] =
                row < count ? __half2float(p.hidden[(size_t)row * p.F + list[i]]) : 0.0f;
        }
    }
    __syncthreads();
}

template <int ROWS, int VECTORS, bool BULK>
__global__ void __launch_bounds__(THREADS, 2) value_kernel(const struct value p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ uint64_t full[WARPS][STAGES];
    __shared__ uint32_t warp_sums[WARPS], is_last;
    __shared__ struct share share;
    const struct layout at =
        layout_of(p.F, p.list_capacity, ROWS, ring_bytes_of(ROWS, VECTORS, BULK));
    uint32_t *marks = (uint32_t *)(void *)(shared + at.marks);
    uint32_t *ranks = (uint32_t *)(void *)(shared + at.ranks);
    uint32_t *list = (uint32_t *)(void *)(shared + at.list);
    float *values = (float *)(void *)(shared + at.values);
    const uint32_t warp = threadIdx.x >> 5;
    const uint32_t first_column = blockIdx.x * VECTORS * WARP_COLUMNS;
    if (BULK && (threadIdx.x & 31) == 0) {
        for (uint32_t stage = 0; stage < STAGES; stage++) {
            cuda_mbarrier_init(&full[warp][stage], 1);
        }
        cuda_mbarrier_init_fence();
    }
    cuda_dependency_wait();
    const uint32_t count = p.step.header->row_count;
    mark_channels<ROWS>(p.hidden, p.F, count, (uint8_t *)marks);
    __syncthreads();
    rank_words(p.F, p.slices, marks, ranks, warp_sums, &share);
    list_channels(marks, ranks, &share, list);

    struct stream s;
    s.weight = p.weight + first_column;
    s.list = list;
    s.values = values;
    s.list_count = share.end - share.first;
    s.columns = p.C - first_column < VECTORS * WARP_COLUMNS ? p.C - first_column
                                                            : VECTORS * WARP_COLUMNS;
    s.C = p.C;
    unsigned char *ring = shared + warp * (STAGES * SLOT_BYTES);
    for (uint32_t stage = 0; BULK && stage < STAGES; stage++) {
        constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
        copy_group<VECTORS>(s, (stage * WARPS + warp) * GROUP, ring + stage * SLOT_BYTES,
                            &full[warp][stage]);
    }
    gather_values<ROWS>(p, list, s.list_count, count, values);
    float sums[VECTORS][ROWS][VECTOR] = {};
    add_groups<ROWS, VECTORS, BULK>(sums, s, ring, full[warp]);
    join_warps<ROWS, VECTORS>(p, sums, s.columns, (float *)(void *)shared);
    if (arrive(p, &is_last)) {
        for (uint32_t row = 0; row < count && row < ROWS; row++) {
            const size_t offset = (size_t)row * p.C + first_column;
            join_row<ROWS, VECTORS>(p, p.partial + offset, s.columns, p.x + offset);
        }
    }
}

/* ---- Launch ------------------------------------------------------------------------------ */

typedef void kernel(const struct value);

struct plan {
    kernel *run;
    uint32_t vectors, stripes, slices, list_capacity, shared_bytes;
};

template <int ROWS, int VECTORS> static kernel *kernel_of(bool bulk)
{
    constexpr bool fits_plain = ROWS * VECTORS <= SUMS_MAX_PLAIN;
    return bulk ? value_kernel<ROWS, VECTORS, true>
                : value_kernel<ROWS, fits_plain ? VECTORS : 1, false>;
}

template <int ROWS> static kernel *kernel_of_vectors(bool bulk, uint32_t vectors)
{
    constexpr int most = ROWS * VECTORS_MAX <= SUMS_MAX_BULK ? VECTORS_MAX : 2;
    switch (vectors) {
    case 1:
        return kernel_of<ROWS, 1>(bulk);
    case 2:
        return kernel_of<ROWS, 2>(bulk);
    default:
        return kernel_of<ROWS, most>(bulk);
    }
}

static kernel *kernel_of_rows(bool bulk, uint32_t rows, uint32_t vectors)
{
    switch (rows) {
    case 1:
        return kernel_of_vectors<1>(bulk, vectors);
    case 2:
        return kernel_of_vectors<2>(bulk, vectors);
    case 3:
        return kernel_of_vectors<3>(bulk, vectors);
    default:
        return kernel_of_vectors<4>(bulk, vectors);
    }
}

static uint32_t divide_up(uint32_t value, uint32_t by)
{
    return (value + by - 1) / by;
}

/* The widest stripe that divides C in 4 or more and whose sums fit; else the narrowest. */
static uint32_t choose_vectors(uint32_t C, uint32_t rows, bool bulk)
{
    for (uint32_t vectors = VECTORS_MAX; vectors > 1; vectors /= 2) {
        const uint32_t columns = vectors * WARP_COLUMNS;
        if (C % columns == 0 && C / columns >= 4
            && vectors * rows <= (uint32_t)(bulk ? SUMS_MAX_BULK : SUMS_MAX_PLAIN)) {
            return vectors;
        }
    }
    return 1;
}

static struct plan plan_of(const struct cuda_shape *shape, uint32_t multiprocessors, uint32_t rows,
                           bool bulk)
{
    struct plan plan = {};
    plan.vectors = choose_vectors(shape->C, rows, bulk);
    plan.run = kernel_of_rows(bulk, rows, plan.vectors);
    plan.stripes = divide_up(shape->C, plan.vectors * WARP_COLUMNS);
    const uint32_t most = divide_up(shape->F, SLICE_CHANNELS_MIN);
    const uint32_t least = divide_up(shape->F, SLICE_CHANNELS_MAX);
    plan.slices = multiprocessors * (bulk ? 1 : 2) / plan.stripes;
    plan.slices = plan.slices < most ? plan.slices : most;
    plan.slices = plan.slices > least ? plan.slices : least;
    plan.list_capacity = divide_up(shape->F, plan.slices);
    plan.shared_bytes = layout_of(shape->F, plan.list_capacity, rows,
                                  ring_bytes_of((int)rows, (int)plan.vectors, bulk))
                            .bytes;
    return plan;
}

size_t cuda_few_rows_scratch_bytes(const struct cuda_shape *shape, uint32_t multiprocessors)
{
    size_t bytes = 0;
    for (uint32_t rows = 1; rows <= CUDA_FEW_ROWS_MAX; rows++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            const struct plan plan = plan_of(shape, multiprocessors, rows, bulk != 0);
            const size_t partial = (size_t)plan.slices * rows * shape->C * sizeof(float);
            bytes = partial > bytes ? partial : bytes;
        }
    }
    return COUNTER_BYTES + bytes;
}

cudaError_t cuda_few_rows_ffn_value(const struct cuda_launch *launch, struct cuda_step step,
                                    const struct cuda_shape *shape, const struct cuda_layer *layer,
                                    const struct cuda_activations *act, void *scratch)
{
    const uint32_t rows = launch->row_capacity;
    if (rows < 1 || rows > CUDA_FEW_ROWS_MAX || shape->C == 0 || shape->C % 64 != 0
        || shape->F == 0 || shape->F % 32 != 0) {
        return cudaErrorInvalidValue;
    }
    struct plan plan = plan_of(shape, launch->multiprocessors, rows, true);
    if (!cuda_bulk_copies_fit(launch, plan.shared_bytes)) {
        plan = plan_of(shape, launch->multiprocessors, rows, false);
    }
    if (plan.stripes * sizeof(uint32_t) > COUNTER_BYTES
        || (uint64_t)shape->F * plan.slices > UINT32_MAX) {
        return cudaErrorInvalidValue;
    }
    struct value p = {};
    p.step = step;
    p.weight = layer->ffn_value;
    p.hidden = act->ffn_hidden;
    p.x = act->x;
    p.arrived = (uint32_t *)scratch;
    p.partial = (float *)(void *)((unsigned char *)scratch + COUNTER_BYTES);
    p.C = shape->C;
    p.F = shape->F;
    p.slices = plan.slices;
    p.list_capacity = plan.list_capacity;
    if (plan.shared_bytes > SHARED_BYTES_PLAIN) {
        const cudaError_t status = cudaFuncSetAttribute((const void *)plan.run,
                                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        (int)plan.shared_bytes);
        if (status != cudaSuccess) {
            return status;
        }
    }
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, dim3(plan.stripes, plan.slices), dim3(THREADS),
                           plan.shared_bytes, attributes);
    return cudaLaunchKernelEx(&config, plan.run, p);
}
