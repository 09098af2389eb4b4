/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows.cu - matrix-vector products for 1 to 4 rows, each with its norm in front.
 *
 * Computes  out[row][o] = after(sum_c weight[o][c] in[row][c]), f16 weights, f32 sums, for
 *             att_in   [3C + low ranks][C], in = mix(LN1(x)); head [V][C], in = LN_out(x);
 *             ffn_key  [F][C], in = mix(LN2(x)), relu^2;   att_out [C][C], in = y_gated, x +=.
 * Bytes     the weights once: C = 4096: att_in 107.5 MB, att_out 33.6, ffn_key 134, head 537.
 * Flops     2 per weight and row: 1 to 4 flop/byte, bound by memory.
 * Floor     at 4.3 TB/s: 25.0, 7.8, 31.2, 125 us. C = 768: 1.0, 0.3, 1.1, 23 us.
 * Grid      one block of 8 warps and a producer per multiprocessor. A block has consecutive outputs
 *           of one matrix, so it needs one input: it computes norm and mix again for itself, from
 *           L2, which costs less than a launch. Matrices get blocks in proportion.
 * Bulk      the block's weights lie in one piece: the producer streams it through a ring of slots
 *           of 1, 2 or 4 rows (4 to 16 KiB), from before the dependency wait on, as weights depend
 *           on nothing. A warp takes every 8th slot and multiplies its rows at once, so that the
 *           input is read and converted once for them. No block barrier after the input is there.
 *           A block asks for more than half of a multiprocessor's shared memory even where it needs
 *           less: with programmatic launches two blocks of a launch would share a multiprocessor
 *           that is free first while another one has none.
 * Portable  the same sums in the same order with 16-byte loads, a row a warp at a time, two blocks
 *           per multiprocessor.
 * Numerics  a lane's sum in ascending order of channels, then a butterfly over the warp: an output
 *           does not depend on the grid, on the other rows, or on which of the two forms ran.
 * Requires  C a multiple of 64, at most 8192; 16-byte aligned pointers. */

#include "cuda/cuda_few_rows_product.cuh"
#include "cuda/cuda_few_rows_ring.cuh"

enum {
    SHARED_BYTES_BULK = 208 * 1024, /* At most; static memory and what small kernels take beside. */
    IN_FLIGHT_BYTES = 48 * 1024,    /* Times 132: 1.5 us of 4.3 TB/s, about twice the latency. */
    PARTS_MAX = 7,
};

/* One matrix of a launch. */
struct part {
    const cuda_half *weight; /* [outputs][C] */
    const float *mix;        /* [C] of FEW_ROWS_MIXED. */
    void *out;               /* [rows][stride] f16 of FEW_ROWS_MIXED, else f32. */
    uint32_t stride, after;  /* After: of FEW_ROWS_MIXED. */
    uint32_t first_block, share; /* A block has share outputs or one more: */
    uint32_t extra;              /* the first so many blocks. */
    uint32_t outputs, blocks;    /* Of the host. */
};

struct product {
    struct few_rows_input input;
    uint32_t first_blocks[PARTS_MAX + 1]; /* Of parts; UINT32_MAX where there is none. */
    uint32_t part_count, slot_bytes, stages, in_flight;
    struct part parts[PARTS_MAX];
};

/* ---- The product ------------------------------------------------------------------------- */

/* Outputs of the block. */
struct share {
    uint32_t first, count;
};

/* All slots of this warp. What is added to is asked for before the weights are there. */
template <int ROWS, int KIND, int R, bool BULK>
static __device__ __forceinline__ void multiply_share(const struct product &p,
                                                      const struct part &part, struct share share,
                                                      const struct ring &ring, const cuda_half *in,
                                                      uint32_t count)
{
    const uint32_t C = p.input.C;
    const uint32_t warp = threadIdx.x >> 5;
    const struct target target = target_of_lane<ROWS, R>();
    const bool is_stored = target.is_first && target.row < count && target.row < ROWS;
    struct ring_place place = {0, 0};
    if (BULK) {
        ring_advance(&place, warp, ring.stages);
    }
#pragma unroll 1
    for (uint32_t output = warp * R; output < share.count; output += FEW_ROWS_WARPS * R) {
        const bool is_mine = is_stored && output + target.r < share.count;
        const size_t at = (size_t)target.row * part.stride + share.first + output + target.r;
        float *wide = (float *)part.out + at;
        const float before = KIND == FEW_ROWS_PLAIN && is_mine ? __ldcg(wide) : 0.0f;
        const cuda_half *row = part.weight + (size_t)(share.first + output) * C;
        float sums[R][ROWS][2] = {};
        multiply_slot<ROWS, R, BULK>(
            sums, BULK ? ring_wait(ring, place) : (const uint4 *)(const void *)row, in, C);
        if (BULK) {
            ring_release(ring, place);
            ring_advance(&place, FEW_ROWS_WARPS, ring.stages);
        }
        const float sum = sum_of_lane<ROWS, R>(sums);
        if (is_mine && KIND == FEW_ROWS_MIXED) {
            ((cuda_half *)part.out)[at] = activated(part.after, sum);
        } else if (is_mine) {
            *wide = KIND == FEW_ROWS_PLAIN ? before + sum : sum;
        }
    }
}

/* The head's last act: the shifts that this step wrote become the live ones. */
static __device__ __forceinline__ void advance_slots(const struct cuda_step &step)
{
    for (uint32_t i = threadIdx.x; i < step.header->item_count; i += FEW_ROWS_THREADS) {
        const struct cuda_place *place = &step.places[i];
        if (place->active != 0) {
            step.slots[place->slot].parity = place->parity_out;
        }
    }
}

/* ---- Kernel ------------------------------------------------------------------------------ */

/* Compares with all first blocks, none waiting for another, then reads one part. */
static __device__ __forceinline__ const struct part &part_of_block(const struct product &p)
{
    uint32_t index = 0;
#pragma unroll
    for (int i = 1; i < PARTS_MAX; i++) {
        index += blockIdx.x >= p.first_blocks[i] ? 1 : 0;
    }
    return p.parts[index];
}

static __device__ __forceinline__ struct share share_of_block(const struct part &part)
{
    const uint32_t block = blockIdx.x - part.first_block;
    const bool is_larger = block < part.extra;
    struct share share;
    share.first = block * part.share + (is_larger ? block : part.extra);
    share.count = part.share + (is_larger ? 1 : 0);
    return share;
}

/* Fills the ring. Its threads wait for nothing that the kernel before does. */
static __device__ __forceinline__ void produce(const struct product &p, const struct part &part,
                                               struct share share, const struct ring &ring)
{
    const uint32_t row_bytes = p.input.C * (uint32_t)sizeof(cuda_half);
    if ((threadIdx.x & 31) == 0) {
        ring_produce(ring, part.weight + (size_t)share.first * p.input.C, share.count * row_bytes,
                     p.in_flight);
    }
}

template <int ROWS, int KIND, int ITEMS, bool BULK>
__global__ void __launch_bounds__(BULK ? FEW_ROWS_THREADS_BULK : FEW_ROWS_THREADS,
                                  BULK || ROWS * ITEMS > 16 ? 1 : 2)
    few_rows_kernel(const struct product p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ struct ring_barriers barriers;
    __shared__ float4 buffers[ROWS * FEW_ROWS_BUFFERS];
    const struct part &part = part_of_block(p);
    const struct share share = share_of_block(part);
    const uint32_t staged_bytes = ROWS * p.input.C * (uint32_t)sizeof(cuda_half);
    struct ring ring;
    ring.slots = shared + staged_bytes + few_rows_shift_bytes(KIND, ITEMS, ROWS, BULK, p.input.C);
    ring.barriers = &barriers;
    ring.stages = p.stages;
    ring.slot_bytes = p.slot_bytes;
    if (BULK) {
        ring_open(ring);
    }
    if (BULK && threadIdx.x >= FEW_ROWS_THREADS) {
        produce(p, part, share, ring);
        return;
    }
    struct few_rows_places at;
    at.to = (cuda_half *)(void *)shared;
    at.shifts = (float *)(void *)(shared + staged_bytes);
    at.buffers = buffers;
    const uint32_t count = few_rows_count<KIND>(p.input);
    few_rows_stage<KIND, ITEMS, ROWS, BULK>(p.input, part.mix, count, at);
    multiply_share<ROWS, KIND, rows_of_slot(ROWS, ITEMS, BULK), BULK>(p, part, share, ring, at.to,
                                                                      count);
    if (KIND == FEW_ROWS_NORMALISED && blockIdx.x == 0) {
        advance_slots(p.input.step);
    }
}

/* ---- Launch ------------------------------------------------------------------------------ */

typedef void kernel(const struct product);

/* The kernel, and what its instance means for shared memory. */
struct variant {
    kernel *run;
    uint32_t slot_rows, shift_bytes;
};

template <int ROWS, int KIND, int ITEMS>
static struct variant variant_of(bool bulk, uint32_t C)
{
    struct variant variant;
    variant.run = bulk ? few_rows_kernel<ROWS, KIND, ITEMS, true>
                       : few_rows_kernel<ROWS, KIND, ITEMS, false>;
    variant.slot_rows = (uint32_t)rows_of_slot(ROWS, ITEMS, bulk);
    variant.shift_bytes = few_rows_shift_bytes(KIND, ITEMS, ROWS, bulk, C);
    return variant;
}

template <int ROWS, int KIND> static struct variant variant_of_width(bool bulk, uint32_t C)
{
    return C <= FEW_ROWS_ITEM_CHANNELS       ? variant_of<ROWS, KIND, 1>(bulk, C)
           : C <= 2 * FEW_ROWS_ITEM_CHANNELS ? variant_of<ROWS, KIND, 2>(bulk, C)
           : C <= 4 * FEW_ROWS_ITEM_CHANNELS ? variant_of<ROWS, KIND, 4>(bulk, C)
                                             : variant_of<ROWS, KIND, FEW_ROWS_ITEMS_MAX>(bulk, C);
}

template <int KIND> static struct variant variant_of_rows(uint32_t rows, bool bulk, uint32_t C)
{
    switch (rows) {
    case 1:
        return variant_of_width<1, KIND>(bulk, C);
    case 2:
        return variant_of_width<2, KIND>(bulk, C);
    case 3:
        return variant_of_width<3, KIND>(bulk, C);
    default:
        return variant_of_width<4, KIND>(bulk, C);
    }
}

/* Adds a matrix to the launch. */
static struct part *add_part(struct product *p, const cuda_half *weight, uint32_t outputs,
                             void *out, uint32_t stride, enum after after)
{
    struct part *part = &p->parts[p->part_count++];
    part->weight = weight;
    part->out = out;
    part->outputs = outputs;
    part->stride = stride;
    part->after = after;
    return part;
}

/* Gives each matrix whole blocks, by the smallest number of outputs a block with which `limit`
 * blocks suffice. Returns the number of blocks. */
static uint32_t share_blocks(struct product *p, uint32_t limit)
{
    uint32_t outputs = 0;
    for (uint32_t i = 0; i < p->part_count; i++) {
        outputs += p->parts[i].outputs;
    }
    limit = limit < p->part_count ? p->part_count : limit;
    uint32_t share = cuda_divide_up(outputs, limit);
    uint32_t blocks = 0;
    do {
        blocks = 0;
        for (uint32_t i = 0; i < p->part_count; i++) {
            struct part *part = &p->parts[i];
            part->first_block = blocks;
            part->blocks = cuda_divide_up(part->outputs, share);
            part->share = part->outputs / part->blocks;
            part->extra = part->outputs % part->blocks;
            blocks += part->blocks;
        }
        share++;
    } while (blocks > limit);
    for (uint32_t i = 0; i < PARTS_MAX + 1; i++) {
        p->first_blocks[i] = i < p->part_count ? p->parts[i].first_block : UINT32_MAX;
    }
    return blocks;
}

/* The ring takes what is left of the shared memory. Returns all bytes that the block asks for;
 * in_flight 0: too little is left. */
static uint32_t choose_ring(struct product *p, uint32_t slot_rows, uint32_t bytes_before)
{
    p->slot_bytes = slot_rows * p->input.C * (uint32_t)sizeof(cuda_half);
    const uint32_t left =
        bytes_before < SHARED_BYTES_BULK ? (uint32_t)SHARED_BYTES_BULK - bytes_before : 0;
    const uint32_t fit = left / p->slot_bytes;
    p->stages = fit < RING_STAGES_MAX ? fit : (uint32_t)RING_STAGES_MAX;
    p->stages = p->stages < 1 ? 1 : p->stages;
    /* A reader must not come to a stage's next phase before the last one has landed, which it would
     * not tell from the one before: when it has read slot i, those up to i - in_flight have. */
    const uint32_t in_flight = IN_FLIGHT_BYTES / p->slot_bytes;
    const uint32_t most_in_flight = p->stages > FEW_ROWS_WARPS ? p->stages - FEW_ROWS_WARPS : 0;
    p->in_flight = in_flight < most_in_flight ? in_flight : most_in_flight;
    const uint32_t bytes = bytes_before + p->stages * p->slot_bytes;
    return bytes > CUDA_ALONE_BYTES ? bytes : (uint32_t)CUDA_ALONE_BYTES;
}

/* A launch as it will be. */
struct form {
    struct variant variant;
    uint32_t blocks, threads, shared_bytes;
};

template <int KIND>
static struct form form_of(const struct cuda_launch *launch, struct product *p, bool bulk)
{
    const uint32_t rows = launch->row_capacity;
    struct form form;
    form.variant = variant_of_rows<KIND>(rows, bulk, p->input.C);
    form.blocks = share_blocks(p, launch->multiprocessors * (bulk ? 1 : 2));
    form.threads = bulk ? FEW_ROWS_THREADS_BULK : FEW_ROWS_THREADS;
    form.shared_bytes =
        rows * p->input.C * (uint32_t)sizeof(cuda_half) + form.variant.shift_bytes;
    if (bulk) {
        form.shared_bytes = choose_ring(p, form.variant.slot_rows, form.shared_bytes);
    }
    return form;
}

template <int KIND>
static cudaError_t launch_product(const struct cuda_launch *launch, struct product *p)
{
    const uint32_t rows = launch->row_capacity;
    if (rows < 1 || rows > CUDA_FEW_ROWS_MAX || p->input.C % 64 != 0 || p->input.C == 0
        || p->input.C > FEW_ROWS_CHANNELS_MAX) {
        return cudaErrorInvalidValue;
    }
    const bool bulk = cuda_bulk_copies_fit(launch, SHARED_BYTES_BULK);
    struct form form = form_of<KIND>(launch, p, bulk);
    if (bulk && p->in_flight == 0) {
        form = form_of<KIND>(launch, p, false);
    }
    return cuda_launch_shared(launch, form.variant.run, dim3(form.blocks), form.threads,
                              form.shared_bytes, *p);
}

static struct product product_of(const struct cuda_step &step, const struct cuda_shape *shape,
                                 const struct cuda_activations *act)
{
    struct product p = {};
    p.input.step = step;
    p.input.x = act->x;
    p.input.C = shape->C;
    p.input.slot_shift = (size_t)shape->L * 2 * shape->C;
    return p;
}

/* ---- Launchers --------------------------------------------------------------------------- */

static void add_low_rank(struct product *p, const struct cuda_shape *shape,
                         const struct cuda_layer *layer, const struct cuda_activations *act,
                         enum cuda_low_rank group, enum cuda_mix mix, enum after after)
{
    const uint32_t Q = shape->rank[group];
    if (layer->down[group] != NULL && Q != 0) {
        add_part(p, layer->down[group], Q, act->hidden[group], Q, after)->mix =
            layer->mix + (size_t)mix * shape->C;
    }
}

cudaError_t cuda_few_rows_att_in(const struct cuda_launch *launch, struct cuda_step step,
                                 const struct cuda_shape *shape, const struct cuda_layer *layer,
                                 uint32_t layer_index, const struct cuda_activations *act)
{
    const size_t C = shape->C;
    struct product p = product_of(step, shape, act);
    p.input.ln_weight = layer->ln1_weight;
    p.input.ln_bias = layer->ln1_bias;
    p.input.shift_at = (size_t)layer_index * 2 * C;
    for (size_t m = CUDA_MIX_R; m <= CUDA_MIX_V; m++) {
        add_part(&p, layer->rkv + m * C * C, shape->C, act->rkv + m * act->N * C, shape->C,
                 AFTER_NOTHING)
            ->mix = layer->mix + m * C;
    }
    add_low_rank(&p, shape, layer, act, CUDA_LOW_W, CUDA_MIX_W, AFTER_TANH);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_A, CUDA_MIX_A, AFTER_NOTHING);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_G, CUDA_MIX_G, AFTER_SIGMOID);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_V, CUDA_MIX_V, AFTER_NOTHING);
    return launch_product<FEW_ROWS_MIXED>(launch, &p);
}

cudaError_t cuda_few_rows_att_out(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  const struct cuda_activations *act)
{
    struct product p = product_of(step, shape, act);
    p.input.plain = act->y_gated;
    add_part(&p, layer->output, shape->C, act->x, shape->C, AFTER_NOTHING);
    return launch_product<FEW_ROWS_PLAIN>(launch, &p);
}

cudaError_t cuda_few_rows_ffn_key(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  uint32_t layer_index, const struct cuda_activations *act)
{
    struct product p = product_of(step, shape, act);
    p.input.ln_weight = layer->ln2_weight;
    p.input.ln_bias = layer->ln2_bias;
    p.input.shift_at = ((size_t)layer_index * 2 + 1) * shape->C;
    add_part(&p, layer->ffn_key, shape->F, act->ffn_hidden, shape->F, AFTER_RELU_SQUARED)->mix =
        layer->ffn_mix;
    return launch_product<FEW_ROWS_MIXED>(launch, &p);
}

cudaError_t cuda_few_rows_head(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const float *ln_out_weight,
                               const float *ln_out_bias, const cuda_half *head,
                               const struct cuda_activations *act, float *logits)
{
    struct product p = product_of(step, shape, act);
    p.input.ln_weight = ln_out_weight;
    p.input.ln_bias = ln_out_bias;
    add_part(&p, head, shape->V, logits, shape->V, AFTER_NOTHING);
    return launch_product<FEW_ROWS_NORMALISED>(launch, &p);
}
