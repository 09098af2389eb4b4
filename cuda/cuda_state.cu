/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_state.cu - one slot's state to and from the layout of a snapshot.
 *
 * Snapshot  per layer att_prev[C], S[H][64][64], ffn_prev[C], f32 (engine/backend.h). In a slot S
 *           and the shifts lie apart, and the shifts twice; the live copy is found on the device.
 * Bytes     7.2B: 34 MB read and written: 17 us at 4.3 TB/s. Not part of a step.
 * Grid      (pieces of a layer, L) blocks, 16 bytes a thread and trip. */
#include "cuda/cuda_half.cuh"

enum { THREADS = 256, BLOCKS_PER_LAYER = 32 };

struct layout {
    struct cuda_step step;
    uint32_t slot, C, L;
    size_t layer_wkv; /* H 64 64 floats. */
};

/* Float `at` of a layer's part of a snapshot, in the slot. at is a multiple of 4. */
static __device__ __forceinline__ float *state_at(const struct layout &p, uint32_t layer,
                                                  uint32_t parity, size_t at)
{
    const size_t shift = (((size_t)p.slot * 2 + parity) * p.L + layer) * 2 * p.C;
    if (at < p.C) {
        return p.step.shift + shift + at;
    }
    if (at - p.C < p.layer_wkv) {
        return p.step.wkv + ((size_t)p.slot * p.L + layer) * p.layer_wkv + (at - p.C);
    }
    return p.step.shift + shift + p.C + (at - p.C - p.layer_wkv);
}

/* Where a thread of the grid begins, and its stride, in floats of a layer. */
static __device__ __forceinline__ size_t walk_begin(void)
{
    return ((size_t)blockIdx.x * THREADS + threadIdx.x) * 4;
}

static __device__ __forceinline__ size_t walk_stride(void)
{
    return (size_t)gridDim.x * THREADS * 4;
}

__global__ void __launch_bounds__(THREADS) pack_kernel(struct layout p, float *snapshot_out)
{
    const uint32_t parity = p.step.slots[p.slot].parity;
    const size_t floats = p.layer_wkv + 2 * (size_t)p.C;
    float *to = snapshot_out + blockIdx.y * floats;
    for (size_t at = walk_begin(); at < floats; at += walk_stride()) {
        cuda_float4_store(to + at, cuda_float4_load(state_at(p, blockIdx.y, parity, at)));
    }
}

__global__ void __launch_bounds__(THREADS) unpack_kernel(struct layout p, const float *snapshot)
{
    const size_t floats = p.layer_wkv + 2 * (size_t)p.C;
    const float *from = snapshot == NULL ? NULL : snapshot + blockIdx.y * floats;
    for (size_t at = walk_begin(); at < floats; at += walk_stride()) {
        cuda_float4_store(state_at(p, blockIdx.y, 0, at),
                          from == NULL ? make_float4(0.0f, 0.0f, 0.0f, 0.0f)
                                       : cuda_float4_load(from + at));
    }
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) {
        p.step.slots[p.slot].parity = 0;
    }
}

/* ---- Launchers --------------------------------------------------------------------------- */

static struct layout layout_of(struct cuda_step step, const struct cuda_shape *shape,
                               uint32_t slot)
{
    struct layout p = {};
    p.step = step;
    p.slot = slot;
    p.C = shape->C;
    p.L = shape->L;
    p.layer_wkv = (size_t)shape->H * CUDA_HEAD * CUDA_HEAD;
    return p;
}

static cudaLaunchConfig_t state_config(cudaStream_t stream, const struct cuda_shape *shape)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(BLOCKS_PER_LAYER, shape->L);
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    return config;
}

cudaError_t cuda_state_pack(cudaStream_t stream, struct cuda_step step,
                            const struct cuda_shape *shape, uint32_t slot, float *snapshot_out)
{
    const cudaLaunchConfig_t config = state_config(stream, shape);
    return cudaLaunchKernelEx(&config, pack_kernel, layout_of(step, shape, slot), snapshot_out);
}

cudaError_t cuda_state_unpack(cudaStream_t stream, struct cuda_step step,
                              const struct cuda_shape *shape, uint32_t slot,
                              const float *snapshot)
{
    const cudaLaunchConfig_t config = state_config(stream, shape);
    return cudaLaunchKernelEx(&config, unpack_kernel, layout_of(step, shape, slot), snapshot);
}
