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
 * Grid      one block of 8 warps per multiprocessor. A block has consecutive outputs of one matrix,
 *           so it needs one input: it computes norm and mix again for itself, from L2, which
 *           costs less than a launch. A warp takes whole rows, every 8th of its block's. Matrices
 *           get blocks in proportion; the largest share is within a row per warp of the mean.
 * Bulk      each warp streams its rows through a private ring of at most 8 slots of about 2 KiB,
 *           filled by its own bulk copies, one mbarrier a slot, no block barrier. The ring is
 *           filled before the dependency wait: weights depend on nothing. At most 108 KiB a block,
 *           so that the next kernel's ring fits beside it.
 * Portable  the same sums in the same order with 16-byte loads, two blocks per multiprocessor.
 * Numerics  a lane's sum in ascending order of channels, then a butterfly over the warp: an output
 *           does not depend on the grid, on the other rows, or on which of the two forms ran.
 * Requires  C a multiple of 64, at most 8192; 16-byte aligned pointers. */
#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_few_rows_input.cuh"

enum {
    STAGES_MAX = 8,
    SLOT_BYTES_MAX = 2560,
    SHARED_BYTES_BULK = 108 * 1024,
    SHARED_BYTES_PLAIN = 48 * 1024, /* What every device gives without being asked. */
    PARTS_MAX = 7,
};

enum after { AFTER_F16, AFTER_TANH, AFTER_SIGMOID, AFTER_RELU_SQUARED, AFTER_ADD, AFTER_F32 };

/* One matrix of a launch. */
struct part {
    const cuda_half *weight; /* [outputs][C] */
    const float *mix;        /* [C] of FEW_ROWS_MIXED. */
    void *out;               /* [rows][stride] */
    uint32_t outputs, stride, after;
    uint32_t first_block, blocks, share; /* A block has share outputs or one more: */
    uint32_t extra;                      /* the first so many blocks. */
};

struct product {
    struct few_rows_input input;
    uint32_t part_count, slot_bytes, slots_per_row, stages;
    struct part parts[PARTS_MAX];
};

/* ---- The ring of one warp ---------------------------------------------------------------- */

struct ring {
    unsigned char *slots; /* [stages][slot_bytes] */
    uint64_t *full;       /* [stages] */
    const unsigned char *next; /* What is copied next, */
    uint32_t next_slot;        /* its place in its row, */
    uint32_t left;             /* and how much is not copied yet, in slots. */
    uint32_t stage, parity;    /* What is read next. */
};

static __device__ __forceinline__ void ring_copy(struct ring *ring, const struct product &p,
                                                 uint32_t stage)
{
    if (ring->left == 0) {
        return;
    }
    if ((threadIdx.x & 31) == 0) {
        cuda_mbarrier_expect(&ring->full[stage], p.slot_bytes);
        cuda_bulk_load(ring->slots + stage * p.slot_bytes, ring->next, p.slot_bytes,
                       &ring->full[stage]);
    }
    ring->left--;
    ring->next += p.slot_bytes;
    if (++ring->next_slot == p.slots_per_row) { /* On to the warp's next row. */
        ring->next_slot = 0;
        ring->next += (size_t)(FEW_ROWS_WARPS - 1) * p.input.C * sizeof(cuda_half);
    }
}

static __device__ __forceinline__ void ring_fill(struct ring *ring, const struct product &p,
                                                 const cuda_half *first_row, uint32_t row_count)
{
    ring->next = (const unsigned char *)first_row;
    ring->next_slot = 0;
    ring->left = row_count * p.slots_per_row;
    ring->stage = ring->parity = 0;
    if ((threadIdx.x & 31) == 0) {
        for (uint32_t stage = 0; stage < p.stages; stage++) {
            cuda_mbarrier_init(&ring->full[stage], 1);
        }
        cuda_mbarrier_init_fence();
    }
    for (uint32_t stage = 0; stage < p.stages; stage++) {
        ring_copy(ring, p, stage);
    }
    __syncwarp();
}

static __device__ __forceinline__ const uint4 *ring_wait(const struct ring *ring,
                                                         const struct product &p)
{
    cuda_mbarrier_wait(&ring->full[ring->stage], ring->parity);
    return (const uint4 *)(const void *)(ring->slots + ring->stage * p.slot_bytes);
}

/* Every lane has read the slot: fills it again. */
static __device__ __forceinline__ void ring_next(struct ring *ring, const struct product &p)
{
    __syncwarp();
    ring_copy(ring, p, ring->stage);
    if (++ring->stage == p.stages) {
        ring->stage = 0;
        ring->parity ^= 1;
    }
}

/* ---- The product ------------------------------------------------------------------------- */

/* sums[row] += 8 weights times 8 channels of each row. Two sums a row, for shorter chains. */
template <int ROWS>
static __device__ __forceinline__ void multiply_8(float (*sums)[2], uint4 weights,
                                                  const cuda_half *in, uint32_t C)
{
    const float2 w0 = cuda_half2_unpack(weights.x), w1 = cuda_half2_unpack(weights.y);
    const float2 w2 = cuda_half2_unpack(weights.z), w3 = cuda_half2_unpack(weights.w);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const uint4 bits = *(const uint4 *)(const void *)(in + row * C);
        const float2 x0 = cuda_half2_unpack(bits.x), x1 = cuda_half2_unpack(bits.y);
        const float2 x2 = cuda_half2_unpack(bits.z), x3 = cuda_half2_unpack(bits.w);
        sums[row][0] = fmaf(w0.x, x0.x, sums[row][0]);
        sums[row][1] = fmaf(w1.x, x1.x, sums[row][1]);
        sums[row][0] = fmaf(w0.y, x0.y, sums[row][0]);
        sums[row][1] = fmaf(w1.y, x1.y, sums[row][1]);
        sums[row][0] = fmaf(w2.x, x2.x, sums[row][0]);
        sums[row][1] = fmaf(w3.x, x3.x, sums[row][1]);
        sums[row][0] = fmaf(w2.y, x2.y, sums[row][0]);
        sums[row][1] = fmaf(w3.y, x3.y, sums[row][1]);
    }
}

/* A slot of weights from shared memory, or of the matrix itself. */
template <int ROWS, bool BULK>
static __device__ __forceinline__ void multiply_slot(float (*sums)[2], const uint4 *weights,
                                                     const cuda_half *in, uint32_t C,
                                                     uint32_t slot_bytes)
{
#pragma unroll 4
    for (uint32_t i = threadIdx.x & 31; i < slot_bytes / 16; i += 32) {
        multiply_8<ROWS>(sums, BULK ? weights[i] : __ldcs(weights + i), in + i * 8, C);
    }
}

static __device__ __forceinline__ void store_output(const struct part &part, uint32_t row,
                                                    uint32_t output, float sum)
{
    const size_t at = (size_t)row * part.stride + output;
    cuda_half *half = (cuda_half *)part.out + at;
    float *wide = (float *)part.out + at;
    switch (part.after) {
    case AFTER_F16:
        *half = __float2half_rn(sum);
        break;
    case AFTER_TANH:
        *half = __float2half_rn(tanhf(sum));
        break;
    case AFTER_SIGMOID:
        *half = __float2half_rn(cuda_sigmoid(sum));
        break;
    case AFTER_RELU_SQUARED:
        sum = sum < 0.0f ? 0.0f : sum * sum; /* Not a number stays visible. */
        *half = __float2half_rn(sum > 65504.0f ? 65504.0f : sum);
        break;
    case AFTER_ADD:
        *wide = __ldcg(wide) + sum;
        break;
    default:
        *wide = sum;
        break;
    }
}

/* Lane `row` stores the output of its row. */
template <int ROWS>
static __device__ __forceinline__ void finish_output(const struct part &part, uint32_t output,
                                                     uint32_t count, float (*sums)[2])
{
    const uint32_t lane = threadIdx.x & 31;
    float mine = 0.0f;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float sum = cuda_warp_sum(sums[row][0] + sums[row][1]);
        mine = lane == (uint32_t)row ? sum : mine;
    }
    if (lane < ROWS && lane < count) {
        store_output(part, lane, output, mine);
    }
}

template <int ROWS, bool BULK>
static __device__ __forceinline__ void multiply_rows(const struct product &p,
                                                     const struct part &part, struct ring *ring,
                                                     const cuda_half *in, uint32_t output,
                                                     uint32_t end, uint32_t count)
{
    const uint32_t C = p.input.C;
    for (; output < end; output += FEW_ROWS_WARPS) {
        const cuda_half *row = part.weight + (size_t)output * C;
        float sums[ROWS][2] = {};
        for (uint32_t slot = 0; slot < p.slots_per_row; slot++) {
            const uint32_t at = slot * (p.slot_bytes / 2);
            const uint4 *weights = BULK ? ring_wait(ring, p)
                                        : (const uint4 *)(const void *)(row + at);
            multiply_slot<ROWS, BULK>(sums, weights, in + at, C, p.slot_bytes);
            if (BULK) {
                ring_next(ring, p);
            }
        }
        finish_output<ROWS>(part, output, count, sums);
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

template <int ROWS, int KIND, bool BULK>
__global__ void __launch_bounds__(FEW_ROWS_THREADS, 2) few_rows_kernel(const struct product p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared);
    __shared__ uint64_t full[FEW_ROWS_WARPS][STAGES_MAX];
    __shared__ float buffers[2 * FEW_ROWS_WARPS];
    uint32_t index = 0;
    while (index + 1 < p.part_count && blockIdx.x >= p.parts[index + 1].first_block) {
        index++;
    }
    const struct part &part = p.parts[index];
    const uint32_t block = blockIdx.x - part.first_block;
    const uint32_t warp = threadIdx.x >> 5;
    const uint32_t extra = block < part.extra ? block : part.extra;
    const uint32_t first = block * part.share + extra + warp;
    const uint32_t end = first - warp + part.share + (block < part.extra ? 1 : 0);
    const uint32_t mine = first < end ? (end - first + FEW_ROWS_WARPS - 1) / FEW_ROWS_WARPS : 0;
    cuda_half *in = (cuda_half *)(void *)shared;
    struct ring ring = {};
    if (BULK) {
        ring.slots = shared + ROWS * p.input.C * sizeof(cuda_half)
                     + warp * p.stages * p.slot_bytes;
        ring.full = full[warp];
        ring_fill(&ring, p, part.weight + (size_t)first * p.input.C, mine);
    }
    few_rows_stage<KIND, ROWS>(p.input, part.mix, buffers, in);
    const struct cuda_step_header *header = p.input.step.header;
    const uint32_t count = KIND == FEW_ROWS_NORMALISED ? header->logit_count : header->row_count;
    multiply_rows<ROWS, BULK>(p, part, &ring, in, first, end, count);
    if (KIND == FEW_ROWS_NORMALISED && blockIdx.x == 0) {
        advance_slots(p.input.step);
    }
}

/* ---- Launch ------------------------------------------------------------------------------ */

typedef void kernel(const struct product);

template <int KIND, bool BULK> static kernel *kernel_of_rows(uint32_t rows)
{
    switch (rows) {
    case 1:
        return few_rows_kernel<1, KIND, BULK>;
    case 2:
        return few_rows_kernel<2, KIND, BULK>;
    case 3:
        return few_rows_kernel<3, KIND, BULK>;
    default:
        return few_rows_kernel<4, KIND, BULK>;
    }
}

template <int KIND> static kernel *kernel_of(bool bulk, uint32_t rows)
{
    return bulk ? kernel_of_rows<KIND, true>(rows) : kernel_of_rows<KIND, false>(rows);
}

static uint32_t divide_up(uint32_t value, uint32_t by)
{
    return (value + by - 1) / by;
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
    uint32_t share = divide_up(outputs, limit);
    uint32_t blocks = 0;
    do {
        blocks = 0;
        for (uint32_t i = 0; i < p->part_count; i++) {
            struct part *part = &p->parts[i];
            part->first_block = blocks;
            part->blocks = divide_up(part->outputs, share);
            part->share = part->outputs / part->blocks;
            part->extra = part->outputs % part->blocks;
            blocks += part->blocks;
        }
        share++;
    } while (blocks > limit);
    return blocks;
}

/* A row in equal slots of 16-byte words, as few as fit. */
static void choose_slots(struct product *p)
{
    const uint32_t row_bytes = p->input.C * (uint32_t)sizeof(cuda_half);
    uint32_t slots = divide_up(row_bytes, SLOT_BYTES_MAX);
    while (row_bytes % (slots * 16) != 0) {
        slots++;
    }
    p->slots_per_row = slots;
    p->slot_bytes = row_bytes / slots;
}

/* As many stages as fit, no more than any warp has slots. */
static void choose_stages(struct product *p, uint32_t staged_bytes)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < p->part_count; i++) {
        const uint32_t share = divide_up(p->parts[i].outputs, p->parts[i].blocks);
        rows = share > rows ? share : rows;
    }
    const uint32_t used = divide_up(rows, FEW_ROWS_WARPS) * p->slots_per_row;
    const uint32_t fit = (SHARED_BYTES_BULK - staged_bytes) / (FEW_ROWS_WARPS * p->slot_bytes);
    p->stages = used < STAGES_MAX ? used : (uint32_t)STAGES_MAX;
    p->stages = fit < p->stages ? fit : p->stages;
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
    const uint32_t blocks = share_blocks(p, launch->multiprocessors * (bulk ? 1 : 2));
    const uint32_t staged_bytes = rows * p->input.C * (uint32_t)sizeof(cuda_half);
    uint32_t shared_bytes = staged_bytes;
    choose_slots(p);
    if (bulk) {
        choose_stages(p, staged_bytes);
        shared_bytes += FEW_ROWS_WARPS * p->stages * p->slot_bytes;
    }
    kernel *const run = kernel_of<KIND>(bulk, rows);
    if (shared_bytes > SHARED_BYTES_PLAIN) {
        const cudaError_t status = cudaFuncSetAttribute(
            (const void *)run, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (status != cudaSuccess) {
            return status;
        }
    }
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, dim3(blocks), dim3(FEW_ROWS_THREADS), shared_bytes, attributes);
    return cudaLaunchKernelEx(&config, run, *p);
}

static struct product product_of(const struct cuda_step &step, const struct cuda_shape *shape,
                                 const struct cuda_activations *act)
{
    struct product p = {};
    p.input.step = step;
    p.input.x = act->x;
    p.input.C = shape->C;
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
                 AFTER_F16)
            ->mix = layer->mix + m * C;
    }
    add_low_rank(&p, shape, layer, act, CUDA_LOW_W, CUDA_MIX_W, AFTER_TANH);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_A, CUDA_MIX_A, AFTER_F16);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_G, CUDA_MIX_G, AFTER_SIGMOID);
    add_low_rank(&p, shape, layer, act, CUDA_LOW_V, CUDA_MIX_V, AFTER_F16);
    return launch_product<FEW_ROWS_MIXED>(launch, &p);
}

cudaError_t cuda_few_rows_att_out(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  const struct cuda_activations *act)
{
    struct product p = product_of(step, shape, act);
    p.input.plain = act->y_gated;
    add_part(&p, layer->output, shape->C, act->x, shape->C, AFTER_ADD);
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
    add_part(&p, head, shape->V, logits, shape->V, AFTER_F32);
    return launch_product<FEW_ROWS_NORMALISED>(launch, &p);
}
