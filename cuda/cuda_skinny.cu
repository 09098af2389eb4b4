/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_skinny.cu - matrix products of 5 to 128 rows: skinny ones, bound by their weights.
 *
 * Computes  out[row][o] = after(sum_k in[row][k] weight[o][k]), f16 in, f32 sums, for
 *             att_in   r, k, v and the low-rank downs (tanh, sigmoid), each of its own plane;
 *             att_out  x += y_gated output^T; ffn_key with relu^2; ffn_value, x +=.
 * Bytes     the weights once: C = 4096: 107.5, 33.6, 134, 134 MB; in and out again from L2.
 * Flops     2 per weight and row: 128 rows 128 flop/byte; ffn_key 17 G, 24 us at 700 Tflop/s.
 * Floor     at 4.3 TB/s: 25.0, 7.8, 31.2, 31.2 us.
 * Grid      at most one block per multiprocessor. A tile has 128 outputs and is cut along k into
 *           chunks of 64; a block has whole tiles, or one of up to 8 equal parts of a tile where
 *           whole ones would leave too many multiprocessors without.
 * Block     a producer brings boxes of weights and input into a ring of stages; the weights of the
 *           first ones before the dependency wait. Two warpgroups multiply, 64 outputs each, with
 *           the weights as the left operand, so that a product is as wide as there are rows.
 * Join      blocks that share a tile leave their sums in scratch, wait for each other, and each
 *           adds up a share of the outputs in the order of parts. No float atomics; arrival
 *           counters return to zero.
 * Numerics  the order of a sum follows from shape, device and row capacity alone. Rows beyond the
 *           count are multiplied and not stored.
 * Requires  compute capability 9.0; C and F multiples of 64. Elsewhere cuBLASLt, low rank down and
 *           relu^2 do the same. */
#include "cuda/cuda_skinny_tile.cuh"

#if CUDA_HAS_WARPGROUP

/* ---- The producer ------------------------------------------------------------------------- */

/* A place in the line, and what must be known to bring it. */
struct place {
    uint32_t chunk, tile, in_tile; /* in_tile: its number within the tile. */
    uint32_t stage, parity;
    const struct problem *problem;
};

static __device__ __forceinline__ struct place place_of(const struct skinny &p, uint32_t chunk)
{
    struct place at = {};
    at.chunk = chunk;
    at.tile = chunk / p.tile_chunks;
    at.in_tile = chunk % p.tile_chunks;
    at.problem = &problem_of(p, at.tile);
    return at;
}

static __device__ __forceinline__ void move_on(const struct skinny &p, struct place *at)
{
    at->chunk++;
    if (++at->in_tile == p.tile_chunks) {
        at->in_tile = 0;
        at->tile++;
        at->problem = &problem_of(p, at->tile);
    }
    if (++at->stage == p.stages) {
        at->stage = 0;
        at->parity ^= 1;
    }
}

/* Announces a chunk and brings its weights. */
template <int ROWS, int KIND>
static __device__ __forceinline__ void bring_weights(const struct skinny &p,
                                                     const struct place &at, unsigned char *stage,
                                                     uint64_t *full)
{
    const struct problem &problem = *at.problem;
    const struct cuda_tensor_map *map = &p.weights[problem.map];
    const uint32_t output = problem.map_output + (at.tile - problem.first_tile) * TILE;
    const uint32_t k = at.in_tile * DEEP;
    cuda_mbarrier_expect(full, stage_bytes_of(ROWS));
    if (KIND == FFN_VALUE) { /* By input: a box has 64 outputs. */
        cuda_box_load(stage, map, output, k, full);
        cuda_box_load(stage + WEIGHT_BYTES / 2, map, output + GROUP_TILE, k, full);
    } else {
        cuda_box_load(stage, map, k, output, full);
    }
}

/* By one lane: the weights of the first chunks; where they end. */
template <int ROWS, int KIND>
static __device__ __forceinline__ uint32_t produce_ahead(const struct skinny &p,
                                                         unsigned char *ring, uint64_t *full)
{
    const uint32_t first = first_chunk_of(p, blockIdx.x);
    const uint32_t end = first_chunk_of(p, blockIdx.x + 1);
    const uint32_t ahead = end - first < p.ahead ? end : first + p.ahead;
    for (struct place at = place_of(p, first); at.chunk < ahead; move_on(p, &at)) {
        bring_weights<ROWS, KIND>(p, at, ring + at.stage * stage_bytes_of(ROWS),
                                  &full[at.stage]);
    }
    return ahead;
}

/* By one lane: everything else. */
template <int ROWS, int KIND>
static __device__ __forceinline__ void produce(const struct skinny &p, unsigned char *ring,
                                               uint64_t *full, uint64_t *empty, uint32_t ahead)
{
    const uint32_t end = first_chunk_of(p, blockIdx.x + 1);
    struct place at = place_of(p, first_chunk_of(p, blockIdx.x));
    for (; at.chunk < end; move_on(p, &at)) {
        unsigned char *stage = ring + at.stage * stage_bytes_of(ROWS);
        if (at.chunk >= ahead) {
            cuda_mbarrier_wait(&empty[at.stage], at.parity ^ 1);
            bring_weights<ROWS, KIND>(p, at, stage, &full[at.stage]);
        }
        cuda_box_load(stage + WEIGHT_BYTES, &p.in, at.in_tile * DEEP, at.problem->in_row,
                      &full[at.stage]);
    }
}

/* ---- Products ----------------------------------------------------------------------------- */

template <int ROWS, int KIND>
static __device__ __forceinline__ void multiply_stage(float (&d)[ROWS / 2],
                                                      const unsigned char *stage)
{
    constexpr uint32_t SLICE_BYTES = KIND == FFN_VALUE ? 16 * GROUP_TILE * 2 : 16 * 2;
    const uint32_t group = threadIdx.x / GROUP_THREADS;
    const unsigned char *weights = stage + group * (WEIGHT_BYTES / GROUPS);
    cuda_wgmma_begin();
#pragma unroll
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        cuda_wgmma<KIND == FFN_VALUE>(d, cuda_slice_of(weights, slice * SLICE_BYTES),
                                      cuda_slice_of(stage + WEIGHT_BYTES, slice * 32));
    }
    cuda_wgmma_end();
}

/* ---- Kernel ------------------------------------------------------------------------------- */

template <int ROWS, int KIND>
static __device__ __forceinline__ void consume(const struct skinny &p, const unsigned char *ring,
                                               uint64_t *full, uint64_t *empty, uint32_t *seen,
                                               cuda_half *staged)
{
    const uint32_t row_count = p.header->row_count;
    const uint32_t end = first_chunk_of(p, blockIdx.x + 1);
    uint32_t chunk = first_chunk_of(p, blockIdx.x), stage = 0, parity = 0;
    while (chunk < end) {
        const uint32_t tile = chunk / p.tile_chunks;
        const uint32_t tile_end = (tile + 1) * p.tile_chunks < end ? (tile + 1) * p.tile_chunks
                                                                   : end;
        float d[ROWS / 2] = {};
        for (; chunk < tile_end; chunk++) {
            cuda_mbarrier_wait(&full[stage], parity);
            multiply_stage<ROWS, KIND>(d, ring + stage * stage_bytes_of(ROWS));
            if (threadIdx.x % 32 == 0) {
                cuda_mbarrier_arrive(&empty[stage]);
            }
            if (++stage == p.stages) {
                stage = 0;
                parity ^= 1;
            }
        }
        const struct problem &problem = problem_of(p, tile);
        const uint32_t first_output = (tile - problem.first_tile) * TILE;
        if (p.parts == 1) {
            finish_tile<ROWS, KIND>(problem, first_output, row_count, d, staged);
        } else {
            join_tile<ROWS, KIND>(p, tile, problem, first_output, row_count, d, seen);
        }
    }
}

#endif

template <int ROWS, int KIND>
__global__ void __launch_bounds__(THREADS, 1) skinny_kernel(const __grid_constant__ struct skinny p)
{
#if CUDA_HAS_WARPGROUP
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ uint64_t full[STAGES_MAX], empty[STAGES_MAX];
    __shared__ uint32_t seen;
    unsigned char *ring = cuda_box_align(shared);
    if (threadIdx.x < p.stages) {
        cuda_mbarrier_init(&full[threadIdx.x], 1);
        cuda_mbarrier_init(&empty[threadIdx.x], MULTIPLIERS / 32);
        cuda_mbarrier_init_fence();
    }
    __syncthreads();
    uint32_t ahead = 0;
    if (threadIdx.x == MULTIPLIERS) {
        ahead = produce_ahead<ROWS, KIND>(p, ring, full);
    }
    cuda_dependency_wait();
    if (threadIdx.x == MULTIPLIERS) {
        produce<ROWS, KIND>(p, ring, full, empty, ahead);
    } else if (threadIdx.x < MULTIPLIERS) {
        cuda_half *staged = (cuda_half *)(void *)(ring + p.stages * stage_bytes_of(ROWS));
        consume<ROWS, KIND>(p, ring, full, empty, &seen, staged);
    }
#endif
}

/* ---- Launch ------------------------------------------------------------------------------- */

typedef void kernel(const struct skinny);

template <int KIND> static kernel *kernel_of(uint32_t rows)
{
    switch (rows) {
    case 8:
        return skinny_kernel<8, KIND>;
    case 16:
        return skinny_kernel<16, KIND>;
    case 32:
        return skinny_kernel<32, KIND>;
    case 64:
        return skinny_kernel<64, KIND>;
    default:
        return skinny_kernel<128, KIND>;
    }
}

uint32_t cuda_skinny_rows(uint32_t rows)
{
    uint32_t wide = 8;
    while (wide < rows) {
        wide *= 2;
    }
    return wide;
}

static void add_problem(struct skinny *p, uint32_t outputs, uint32_t map, uint32_t map_output,
                        uint32_t in_row, void *out, uint32_t stride, enum after after)
{
    uint32_t tile = 0;
    if (p->problem_count > 0) {
        const struct problem *before = &p->problems[p->problem_count - 1];
        tile = before->first_tile + cuda_divide_up(before->outputs, TILE);
    }
    struct problem *problem = &p->problems[p->problem_count++];
    problem->out = out;
    problem->outputs = outputs;
    problem->stride = stride;
    problem->after = after;
    problem->map = map;
    problem->map_output = map_output;
    problem->in_row = in_row;
    problem->first_tile = tile;
}

/* Parts of a tile: as few as use nine tenths of the multiprocessors, or as many as there is room
 * for. */
static uint32_t choose_parts(uint32_t tiles, uint32_t tile_chunks, uint32_t multiprocessors)
{
    uint32_t most = tile_chunks / PART_CHUNKS_MIN;
    most = most > PARTS_MAX ? (uint32_t)PARTS_MAX : most;
    uint32_t parts = 1;
    while (tiles * parts < multiprocessors * 9 / 10 && parts < most
           && tiles * (parts + 1) <= multiprocessors) {
        parts++;
    }
    return parts;
}

static size_t counter_bytes(uint32_t tiles)
{
    return ((size_t)tiles * sizeof(uint32_t) + 255) / 256 * 256;
}

size_t cuda_skinny_scratch_bytes(const struct cuda_shape *shape, uint32_t multiprocessors)
{
    uint32_t tiles = 3 * cuda_divide_up(shape->C, TILE);
    for (uint32_t group = 0; group < CUDA_LOW_RANKS; group++) {
        tiles += cuda_divide_up(shape->rank[group], TILE);
    }
    const uint32_t ffn_tiles = cuda_divide_up(shape->F, TILE);
    return counter_bytes(tiles > ffn_tiles ? tiles : ffn_tiles)
           + (size_t)multiprocessors * TILE * CUDA_SKINNY_ROWS_MAX * sizeof(float);
}

template <int KIND>
static cudaError_t launch_skinny(const struct cuda_launch *launch, struct cuda_step step,
                                 struct skinny *p, uint32_t K, void *scratch)
{
    const uint32_t rows = cuda_skinny_rows(launch->row_capacity);
    const struct problem *last = &p->problems[p->problem_count - 1];
    const uint32_t tiles = last->first_tile + cuda_divide_up(last->outputs, TILE);
    const uint32_t stage_bytes = stage_bytes_of(rows);
    const uint32_t staged_bytes = rows * STAGED_PITCH * 2;
    if (rows > CUDA_SKINNY_ROWS_MAX || K % DEEP != 0
        || (uint64_t)tiles * PARTS_MAX * launch->multiprocessors > UINT32_MAX) {
        return cudaErrorInvalidValue;
    }
    p->header = step.header;
    p->tile_chunks = K / DEEP;
    p->tiles = tiles;
    p->parts = choose_parts(tiles, p->tile_chunks, launch->multiprocessors);
    const uint32_t units = tiles * p->parts;
    const uint32_t blocks = units < launch->multiprocessors ? units : launch->multiprocessors;
    p->stages = (SHARED_BYTES_MAX - staged_bytes) / stage_bytes;
    p->stages = p->stages < STAGES_MAX ? p->stages : (uint32_t)STAGES_MAX;
    p->ahead = AHEAD_BYTES / WEIGHT_BYTES < p->stages ? AHEAD_BYTES / WEIGHT_BYTES : p->stages;
    p->arrived = (uint32_t *)scratch;
    p->sums = (float4 *)(void *)((unsigned char *)scratch + counter_bytes(tiles));
    const uint32_t shared_bytes = cuda_alone_bytes(
        launch, blocks, p->stages * stage_bytes + staged_bytes + CUDA_BOX_ALIGNMENT);
    return cuda_launch_shared(launch, kernel_of<KIND>(rows), dim3(blocks), THREADS, shared_bytes,
                              *p);
}

/* ---- Launchers ---------------------------------------------------------------------------- */

cudaError_t cuda_skinny_att_in(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                               const struct cuda_skinny_layer *layer,
                               const struct cuda_activations *act, void *scratch)
{
    static const enum cuda_mix mixes[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G,
                                                        CUDA_MIX_V};
    static const enum after afters[CUDA_LOW_RANKS] = {AFTER_TANH, AFTER_F16, AFTER_SIGMOID,
                                                      AFTER_F16};
    const uint32_t C = shape->C;
    struct skinny p = {};
    p.in = maps->planes;
    p.weights[0] = layer->rkv;
    for (uint32_t m = CUDA_MIX_R; m <= CUDA_MIX_V; m++) {
        add_problem(&p, C, 0, m * C, m * act->N, act->rkv + (size_t)m * act->N * C, C, AFTER_F16);
    }
    for (uint32_t g = 0; g < CUDA_LOW_RANKS; g++) {
        if (layer->has_down[g]) {
            p.weights[1 + g] = layer->down[g];
            add_problem(&p, shape->rank[g], 1 + g, 0, (uint32_t)mixes[g] * act->N, act->hidden[g],
                        shape->rank[g], afters[g]);
        }
    }
    return launch_skinny<ATT_IN>(launch, step, &p, C, scratch);
}

cudaError_t cuda_skinny_att_out(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                                const struct cuda_skinny_layer *layer,
                                const struct cuda_activations *act, void *scratch)
{
    struct skinny p = {};
    p.in = maps->y_gated;
    p.weights[0] = layer->output;
    add_problem(&p, shape->C, 0, 0, 0, act->x, shape->C, AFTER_F16);
    return launch_skinny<ATT_OUT>(launch, step, &p, shape->C, scratch);
}

cudaError_t cuda_skinny_ffn_key(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                                const struct cuda_skinny_layer *layer,
                                const struct cuda_activations *act, void *scratch)
{
    struct skinny p = {};
    p.in = maps->ffn_in;
    p.weights[0] = layer->ffn_key;
    add_problem(&p, shape->F, 0, 0, 0, act->ffn_hidden, shape->F, AFTER_F16);
    return launch_skinny<FFN_KEY>(launch, step, &p, shape->C, scratch);
}

cudaError_t cuda_skinny_ffn_value(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape,
                                  const struct cuda_skinny_maps *maps,
                                  const struct cuda_skinny_layer *layer,
                                  const struct cuda_activations *act, void *scratch)
{
    struct skinny p = {};
    p.in = maps->ffn_hidden;
    p.weights[0] = layer->ffn_value;
    add_problem(&p, shape->C, 0, 0, 0, act->x, shape->C, AFTER_F16);
    return launch_skinny<FFN_VALUE>(launch, step, &p, shape->F, scratch);
}
