/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_value.cu - second product of the channel mix for 1 to 4 rows, without zeros.
 *
 * Computes  x[row][c] += sum_f hidden[row][f] value[f][c], reading value[f] only where hidden[.][f]
 *           is not zero in all rows. value [F][C] f16, hidden [rows][F] f16, sums f32.
 * Bytes     2 C for each channel that is left: C = 4096, F = 16384: 67 MB when half are zero, 17 MB
 *           at 0.87. Partial sums stay in L2: 4 C rows a slice, written and read once.
 * Floor     at 4.3 TB/s: 15.6 and 4.1 us; before it a trip to L2 for hidden values, after it three
 *           to join the sums.
 * Grid      stripes of 1024, 512 or 256 columns x slices, one block of 8 warps per multiprocessor
 *           (C = 4096: 4 x 33). Wider stripes make longer copies; narrower ones leave less to the
 *           warps that join. Channels are dealt to the warps of all slices in turn, so that regions
 *           of zeros are shared by all; a warp lists what is left of its own, for itself.
 * Bulk      a warp streams its list through its own ring of up to 12 slots of 2 KiB: a slot holds
 *           one group of 1, 2 or 4 row segments, each its own copy. A block asks for more than half
 *           of a multiprocessor's shared memory, as in cuda_few_rows.cu.
 * Portable  the same sums in the same order with 16-byte loads, narrower stripes, two blocks per
 *           multiprocessor.
 * Join      through shared memory, one barrier: each warp then has 1/8 of the stripe's columns, and
 *           leaves their partial sums in scratch. The last warp to arrive for these columns adds
 *           them to x in the order of slices. No float atomics; the counters return to zero.
 * Numerics  a column's sum: a warp's channels in ascending order, then warps, then slices. Who sums
 *           which channel follows from C, F and the number of multiprocessors alone, and a channel
 *           that is not zero in another row only adds 0: a row's bits do not depend on the others.
 * Requires  C a multiple of 64, F of 32; 16-byte aligned pointers; counters zero at first; weights
 *           that are finite. */

#include "cuda/cuda_few_rows_value.cuh"

enum {
    SUMS_MAX_PLAIN = 4,             /* Vectors x rows: of 128 registers, 64 KiB in all. */
    SLICE_CHANNELS_MIN = 32,        /* Smaller slices only make the join longer. */
    COUNTERS = 256,                 /* One for each warp of a stripe. */
};

/* ---- Kernel ------------------------------------------------------------------------------ */

template <int ROWS, int VECTORS, bool BULK>
__global__ void __launch_bounds__(THREADS, BULK ? 1 : 2) value_kernel(const struct value p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ uint64_t full[WARPS][STAGES_MAX];
    constexpr int LOADS = BULK ? 36 : 12;
    const struct layout at = layout_of(p.list_capacity, ROWS, VECTORS, p.stages);
    const uint32_t warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const uint32_t first_column = blockIdx.x * VECTORS * WARP_COLUMNS;
    unsigned char *own = shared + warp * p.warp_bytes;
    struct stream s;
    s.weight = p.weight + first_column;
    s.list = (uint32_t *)(void *)(own + at.list);
    s.values = (float *)(void *)(own + at.values);
    s.columns = p.C - first_column < VECTORS * WARP_COLUMNS ? p.C - first_column
                                                            : VECTORS * WARP_COLUMNS;
    s.C = p.C;
    if (BULK && lane < p.stages) {
        cuda_mbarrier_init(&full[warp][lane], 1);
        cuda_mbarrier_init_fence();
    }
    __syncwarp();
    const uint32_t count = __ldcg(&p.step.header->row_count);
    cuda_dependency_wait();
    list_channels<ROWS>(p, count, &s);
    float sums[VECTORS][ROWS][VECTOR] = {};
    add_groups<ROWS, VECTORS, BULK>(sums, s, own, full[warp], p.stages);
    leave_sums<ROWS, VECTORS>(sums, (float *)(void *)own);
    __syncthreads();
    const uint32_t column = (warp * 32 + lane) * VECTORS;
    float *partial = p.partial + first_column + column;
    const bool has_columns = column < s.columns;
    if (has_columns) {
        join_warps<ROWS, VECTORS>(p, shared, column,
                                  partial + (size_t)blockIdx.y * ROWS * p.C);
    }
    if (arrive(p) && has_columns) {
#pragma unroll 1
        for (uint32_t row = 0; row < count && row < ROWS; row++) {
            join_slices<ROWS, VECTORS, LOADS>(p, partial + row * p.C,
                                              p.x + (size_t)row * p.C + first_column + column);
        }
    }
}

/* ---- Launch ------------------------------------------------------------------------------ */

typedef void kernel(const struct value);

struct plan {
    kernel *run;
    uint32_t stripes, slices, stages, list_capacity, warp_bytes, shared_bytes;
};

template <int ROWS, int VECTORS> static kernel *kernel_of(bool bulk)
{
    constexpr bool fits_plain = ROWS * VECTORS <= SUMS_MAX_PLAIN;
    return bulk ? value_kernel<ROWS, VECTORS, true>
                : value_kernel<ROWS, fits_plain ? VECTORS : 1, false>;
}

template <int ROWS> static kernel *kernel_of_vectors(bool bulk, uint32_t vectors)
{
    switch (vectors) {
    case 1:
        return kernel_of<ROWS, 1>(bulk);
    case 2:
        return kernel_of<ROWS, 2>(bulk);
    default:
        return kernel_of<ROWS, VECTORS_MAX>(bulk);
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

/* The widest stripe that divides C in 4 or more, in vectors; else the narrowest. */
static uint32_t choose_vectors(uint32_t C)
{
    for (uint32_t vectors = VECTORS_MAX; vectors > 1; vectors /= 2) {
        const uint32_t columns = vectors * WARP_COLUMNS;
        if (C % columns == 0 && C / columns >= 4) {
            return vectors;
        }
    }
    return 1;
}

/* Slices do not depend on rows and form: they decide the order of sums. */
static uint32_t choose_slices(const struct cuda_shape *shape, uint32_t multiprocessors)
{
    const uint32_t stripes = cuda_divide_up(shape->C, choose_vectors(shape->C) * WARP_COLUMNS);
    const uint32_t most = cuda_divide_up(shape->F, SLICE_CHANNELS_MIN);
    const uint32_t least = cuda_divide_up(shape->F, SLICE_CHANNELS_MAX);
    const uint32_t slices = multiprocessors / stripes < most ? multiprocessors / stripes : most;
    return slices > least ? slices : least;
}

static struct plan plan_of(const struct cuda_shape *shape, uint32_t multiprocessors, uint32_t rows,
                           bool bulk)
{
    struct plan plan = {};
    uint32_t vectors = choose_vectors(shape->C);
    if (!bulk && rows * vectors > SUMS_MAX_PLAIN) {
        vectors = 1;
    }
    plan.run = kernel_of_rows(bulk, rows, vectors);
    plan.stripes = cuda_divide_up(shape->C, vectors * WARP_COLUMNS);
    plan.slices = choose_slices(shape, multiprocessors);
    plan.stages = bulk ? (uint32_t)STAGES_MAX : 0;
    plan.list_capacity = cuda_divide_up(shape->F, plan.slices * WARPS);
    plan.warp_bytes = layout_of(plan.list_capacity, rows, vectors, plan.stages).bytes;
    plan.shared_bytes = WARPS * plan.warp_bytes;
    if (bulk && plan.shared_bytes < CUDA_ALONE_BYTES) {
        plan.shared_bytes = CUDA_ALONE_BYTES;
    }
    return plan;
}

size_t cuda_few_rows_scratch_bytes(const struct cuda_shape *shape, uint32_t multiprocessors)
{
    const size_t slices = choose_slices(shape, multiprocessors);
    return COUNTERS * sizeof(uint32_t)
           + slices * CUDA_FEW_ROWS_MAX * shape->C * sizeof(float);
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
    if (plan.stripes * WARPS > COUNTERS) {
        return cudaErrorInvalidValue;
    }
    struct value p = {};
    p.step = step;
    p.weight = layer->ffn_value;
    p.hidden = act->ffn_hidden;
    p.x = act->x;
    p.arrived = (uint32_t *)scratch;
    p.partial = (float *)(void *)(p.arrived + COUNTERS);
    p.C = shape->C;
    p.F = shape->F;
    p.slices = plan.slices;
    p.stages = plan.stages;
    p.warp_bytes = plan.warp_bytes;
    p.list_capacity = plan.list_capacity;
    return cuda_launch_shared(launch, plan.run, dim3(plan.stripes, plan.slices), THREADS,
                              plan.shared_bytes, p);
}
