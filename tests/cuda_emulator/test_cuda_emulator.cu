/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that the emulator runs a block as the device does, and ends the process where the
 * device would hang or err. Shown by: small kernels with known answers in both orders of threads,
 * and mistakes made on purpose. */
#include <check.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <signal.h>
#include <stdlib.h>

#include "cuda_emulator.h"

static cudaLaunchConfig_t configuration(dim3 grid, dim3 block, size_t shared_bytes)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    return config;
}

template <typename T> static T *device_array(size_t count)
{
    T *array = NULL;
    ck_assert_int_eq(cudaMalloc(&array, count * sizeof(T)), cudaSuccess);
    return array;
}

/* ---- Warps ------------------------------------------------------------------------------- */

struct seen {
    unsigned int by_xor, by_up, by_down, from_first, ballot;
    int any, all, sum;
};

static __global__ void look_around_kernel(struct seen *seen)
{
    const unsigned int me = threadIdx.x;
    struct seen mine = {};
    mine.by_xor = __shfl_xor_sync(0xffffffffu, me, 5);
    mine.by_up = __shfl_up_sync(0xffffffffu, me, 1, 8);
    mine.by_down = __shfl_down_sync(0xffffffffu, me, 2);
    mine.from_first = __shfl_sync(0xffffffffu, me, 3, 16);
    mine.ballot = __ballot_sync(0xffffffffu, me % 3 == 0);
    mine.any = __any_sync(0xffffffffu, me == 7);
    mine.all = __all_sync(0xffffffffu, me != 7);
    mine.sum = __reduce_add_sync(0xffffffffu, -static_cast<int>(me));
    seen[me] = mine;
}

static void look_around(void)
{
    struct seen *seen = device_array<struct seen>(64);
    const cudaLaunchConfig_t config = configuration(1, 64, 0);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, look_around_kernel, seen), cudaSuccess);
    ck_assert_int_eq(cudaDeviceSynchronize(), cudaSuccess);
    for (unsigned int thread = 0; thread < 64; thread++) {
        const unsigned int lane = thread % 32;
        unsigned int ballot = 0;
        for (unsigned int other = 0; other < 32; other++) {
            ballot |= (thread - lane + other) % 3 == 0 ? 1u << other : 0u;
        }
        ck_assert_uint_eq(seen[thread].by_xor, thread ^ 5u);
        ck_assert_uint_eq(seen[thread].by_up, lane % 8 == 0 ? thread : thread - 1);
        ck_assert_uint_eq(seen[thread].by_down, lane >= 30 ? thread : thread + 2);
        ck_assert_uint_eq(seen[thread].from_first, thread / 16 * 16 + 3);
        ck_assert_uint_eq(seen[thread].ballot, ballot);
        ck_assert_int_eq(seen[thread].any, thread < 32);
        ck_assert_int_eq(seen[thread].all, thread >= 32);
        ck_assert_int_eq(seen[thread].sum, thread < 32 ? -496 : -1520);
    }
    ck_assert_int_eq(cudaFree(seen), cudaSuccess);
}

START_TEST(warp_exchanges_as_the_device_does)
{
    look_around();
    cuda_emulator_set_reverse(true);
    look_around();
}
END_TEST

/* A warp of 20 whose upper half returns early; parts of it meet on their own. */
static __global__ void part_kernel(unsigned int *sums)
{
    const unsigned int me = threadIdx.x;
    if (me >= 16) {
        return;
    }
    const unsigned int half = me < 8 ? 0x00ffu : 0xff00u;
    unsigned int sum = me;
    for (int offset = 4; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(half, sum, offset);
    }
    __syncwarp(); /* All that have not returned. */
    __syncthreads();
    sums[me] = sum;
}

START_TEST(warp_does_not_wait_for_lanes_that_returned)
{
    unsigned int *sums = device_array<unsigned int>(16);
    const cudaLaunchConfig_t config = configuration(1, 20, 0);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, part_kernel, sums), cudaSuccess);
    for (unsigned int thread = 0; thread < 16; thread++) {
        ck_assert_uint_eq(sums[thread], thread < 8 ? 28 : 92);
    }
    ck_assert_int_eq(cudaFree(sums), cudaSuccess);
}
END_TEST

/* ---- Blocks ------------------------------------------------------------------------------ */

/* out[block] = sum of the block's numbers, by a tree in dynamic shared memory. */
template <unsigned int THREADS>
static __global__ void __launch_bounds__(THREADS) tree_kernel(const float *numbers, float *out)
{
    CUDA_DYNAMIC_SHARED(memory);
    __shared__ int votes;
    float *sums = reinterpret_cast<float *>(memory);
    const unsigned int me = threadIdx.x;
    sums[me] = numbers[blockIdx.x * THREADS + me];
    const int count = __syncthreads_count(sums[me] > 0.5f);
    for (unsigned int width = THREADS / 2; width > 0; width /= 2) {
        if (me < width) {
            sums[me] += sums[me + width];
        }
        __syncthreads();
    }
    if (me == 0) {
        votes = count;
        atomicAdd(reinterpret_cast<unsigned int *>(&out[2 * gridDim.x]), 1);
    }
    if (__syncthreads_or(me == THREADS - 1) && me == THREADS - 1) {
        out[blockIdx.x] = sums[0];
        out[gridDim.x + blockIdx.x] = static_cast<float>(votes);
    }
}

static void add_up(bool reverse)
{
    enum { THREADS = 256, BLOCKS = 3 };
    cuda_emulator_set_reverse(reverse);
    float *numbers = device_array<float>(THREADS * BLOCKS);
    float *out = device_array<float>(2 * BLOCKS + 1);
    ck_assert(isnan(out[0])); /* New memory is. */
    for (int index = 0; index < THREADS * BLOCKS; index++) {
        numbers[index] = static_cast<float>(index % 4);
    }
    ck_assert_int_eq(cudaMemset(out + 2 * BLOCKS, 0, sizeof(float)), cudaSuccess);
    const cudaLaunchConfig_t config = configuration(BLOCKS, THREADS, THREADS * sizeof(float));
    ck_assert_int_eq(cudaLaunchKernelEx(&config, tree_kernel<THREADS>, numbers, out), cudaSuccess);
    for (int block = 0; block < BLOCKS; block++) {
        ck_assert_float_eq(out[block], THREADS * 1.5f);
        ck_assert_float_eq(out[BLOCKS + block], THREADS * 0.75f);
    }
    ck_assert_uint_eq(__float_as_uint(out[2 * BLOCKS]), BLOCKS);
    ck_assert_int_eq(cudaFree(out), cudaSuccess);
    ck_assert_int_eq(cudaFree(numbers), cudaSuccess);
    ck_assert_uint_eq(cuda_emulator_allocations(), 0);
}

START_TEST(block_meets_at_barriers_in_either_order)
{
    add_up(false);
    add_up(true);
}
END_TEST

/* Warp 0 fills, warp 1 reads, two numbers at a time. */
static __global__ void handover_kernel(unsigned int *out)
{
    __shared__ unsigned int letter;
    for (unsigned int turn = 0; turn < 4; turn++) {
        if (threadIdx.x < 32) {
            if (threadIdx.x == 0) {
                letter = 10 + turn;
            }
            cuda_emulator_barrier_arrive(1, 64);
            cuda_emulator_barrier_sync(2, 64);
        } else {
            cuda_emulator_barrier_sync(1, 64);
            out[turn] = letter;
            cuda_emulator_barrier_arrive(2, 64);
        }
    }
}

START_TEST(block_hands_over_when_barriers_have_numbers)
{
    unsigned int *out = device_array<unsigned int>(4);
    const cudaLaunchConfig_t config = configuration(1, 64, 0);
    for (int reverse = 0; reverse < 2; reverse++) {
        cuda_emulator_set_reverse(reverse != 0);
        ck_assert_int_eq(cudaLaunchKernelEx(&config, handover_kernel, out), cudaSuccess);
        for (unsigned int turn = 0; turn < 4; turn++) {
            ck_assert_uint_eq(out[turn], 10 + turn);
        }
    }
    ck_assert_int_eq(cudaFree(out), cudaSuccess);
}
END_TEST

/* ---- Mistakes ---------------------------------------------------------------------------- */

enum fault {
    FAULT_BARRIER_IN_A_BRANCH,
    FAULT_TWO_COLLECTIVES,
    FAULT_MASK_WITHOUT_CALLER,
    FAULT_SHUFFLE_FROM_NOBODY,
    FAULT_WAIT_FOR_NOBODY,
    FAULTS_OF_KERNELS,
    FAULT_COPY_TOO_LONG = FAULTS_OF_KERNELS,
    FAULT_COPY_WRONG_WAY,
    FAULT_FREE_TWICE,
    FAULTS,
};

static __global__ void fault_kernel(enum fault fault, volatile int *flag)
{
    const unsigned int me = threadIdx.x;
    switch (fault) {
    case FAULT_BARRIER_IN_A_BRANCH:
        if (me < 16) {
            __syncthreads();
        }
        __syncwarp();
        break;
    case FAULT_TWO_COLLECTIVES:
        if (me % 2 == 0) {
            __shfl_xor_sync(0xffffffffu, me, 1);
        } else {
            __ballot_sync(0xffffffffu, 1);
        }
        break;
    case FAULT_MASK_WITHOUT_CALLER:
        __syncwarp(0xffffu);
        break;
    case FAULT_SHUFFLE_FROM_NOBODY:
        if (me < 16) {
            __shfl_sync(0xffffu, me, 20);
        }
        break;
    case FAULT_WAIT_FOR_NOBODY:
        while (*flag == 0) {
            cuda_emulator_yield();
        }
        break;
    default:
        break;
    }
}

START_TEST(process_ends_when_the_device_would_hang_or_err)
{
    const enum fault fault = static_cast<enum fault>(_i);
    int *flag = device_array<int>(1);
    int host[2] = {0, 0};
    const cudaLaunchConfig_t config = configuration(1, fault == FAULT_WAIT_FOR_NOBODY ? 1 : 32, 0);
    cudaMemset(flag, 0, sizeof(int));
    if (fault < FAULTS_OF_KERNELS) {
        cudaLaunchKernelEx(&config, fault_kernel, fault, flag);
    } else if (fault == FAULT_COPY_TOO_LONG) {
        cudaMemcpy(flag, host, sizeof host, cudaMemcpyHostToDevice);
    } else if (fault == FAULT_COPY_WRONG_WAY) {
        cudaMemcpy(flag, host, sizeof(int), cudaMemcpyDeviceToHost);
    } else {
        cudaFree(flag);
        cudaFree(flag);
    }
}
END_TEST

static __global__ void store_kernel(int *to, int value)
{
    *to = value;
}

START_TEST(launch_is_refused_beyond_the_limits)
{
    int *number = device_array<int>(1);
    const size_t most = 227 * 1024;
    cudaLaunchConfig_t config = configuration(1, 1025, 0);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, 1),
                     cudaErrorInvalidConfiguration);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorInvalidConfiguration);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    config = configuration(dim3(1, 65536), 1, 0);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, 1),
                     cudaErrorInvalidConfiguration);
    config = configuration(1, 1, most);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, 1), cudaErrorInvalidValue);
    ck_assert_int_eq(cudaFuncSetAttribute(store_kernel,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, most + 1),
                     cudaErrorInvalidValue);
    ck_assert_int_eq(cudaFuncSetAttribute(store_kernel,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, most),
                     cudaSuccess);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, 1), cudaSuccess);
    ck_assert_int_eq(*number, 1);
    ck_assert_int_eq(cudaFree(number), cudaSuccess);
}
END_TEST

START_TEST(every_call_fails_when_a_kernel_has_failed)
{
    int *number = device_array<int>(1);
    const cudaLaunchConfig_t config = configuration(1, 1, 0);
    cuda_emulator_fail_after(2);
    for (int value = 1; value <= 3; value++) {
        ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, value), cudaSuccess);
    }
    ck_assert_int_eq(*number, 2);
    ck_assert_int_eq(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    ck_assert_int_eq(cudaLaunchKernelEx(&config, store_kernel, number, 4),
                     cudaErrorIllegalAddress);
    ck_assert_int_eq(cudaMemset(number, 0, sizeof(int)), cudaErrorIllegalAddress);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorIllegalAddress);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorIllegalAddress);
    cuda_emulator_recover();
    ck_assert_int_eq(cudaFree(number), cudaSuccess);
}
END_TEST

/* ---- Streams and graphs ------------------------------------------------------------------ */

static __global__ void add_kernel(int *to, int value)
{
    *to += value;
}

START_TEST(graph_runs_what_was_captured_each_time_it_is_launched)
{
    int *number = device_array<int>(1);
    int *pinned = NULL;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ck_assert_int_eq(cudaMallocHost(&pinned, sizeof(int)), cudaSuccess);
    ck_assert_int_eq(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    *number = 5;
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cudaLaunchConfig_t config = configuration(1, 1, 0);
    config.stream = stream;
    ck_assert_int_eq(cudaLaunchKernelEx(&config, add_kernel, number, 3), cudaSuccess);
    ck_assert_int_eq(
        cudaMemcpyAsync(pinned, number, sizeof(int), cudaMemcpyDeviceToHost, stream), cudaSuccess);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    ck_assert_int_eq(*number, 5);
    ck_assert_int_eq(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    ck_assert_int_eq(cudaGraphDestroy(graph), cudaSuccess);
    for (int launch = 1; launch <= 2; launch++) {
        ck_assert_int_eq(cudaGraphLaunch(exec, stream), cudaSuccess);
        ck_assert_int_eq(cudaStreamSynchronize(stream), cudaSuccess);
        ck_assert_int_eq(*pinned, 5 + 3 * launch);
    }
    ck_assert_int_eq(cudaGraphExecDestroy(exec), cudaSuccess);
    ck_assert_int_eq(cudaStreamDestroy(stream), cudaSuccess);
    ck_assert_int_eq(cudaFreeHost(pinned), cudaSuccess);
    ck_assert_int_eq(cudaFree(number), cudaSuccess);
}
END_TEST

START_TEST(capture_is_spoiled_when_somebody_waits_or_allocates)
{
    cudaStream_t stream;
    cudaGraph_t graph;
    void *memory = NULL;
    ck_assert_int_eq(cudaStreamCreate(&stream), cudaSuccess);
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    ck_assert_int_eq(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    ck_assert_int_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    ck_assert_int_eq(cudaMalloc(&memory, 16), cudaErrorStreamCaptureUnsupported);
    ck_assert_int_eq(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    ck_assert_int_eq(cudaStreamDestroy(stream), cudaSuccess);
}
END_TEST

START_TEST(work_waits_for_a_question_when_late)
{
    int *number = device_array<int>(1);
    int *pinned = NULL;
    cudaStream_t stream;
    cudaEvent_t event;
    ck_assert_int_eq(cudaMallocHost(&pinned, sizeof(int)), cudaSuccess);
    ck_assert_int_eq(cudaStreamCreate(&stream), cudaSuccess);
    ck_assert_int_eq(cudaEventCreate(&event), cudaSuccess);
    cuda_emulator_set_late(true);
    *pinned = 1;
    ck_assert_int_eq(
        cudaMemcpyAsync(number, pinned, sizeof(int), cudaMemcpyHostToDevice, stream), cudaSuccess);
    ck_assert_int_eq(cudaEventRecord(event, stream), cudaSuccess);
    *pinned = 2; /* Too early: the device has not read it yet. */
    ck_assert_int_eq(cudaEventQuery(event), cudaErrorNotReady);
    ck_assert_int_eq(cudaEventQuery(event), cudaSuccess);
    ck_assert_int_eq(*number, 2);
    cuda_emulator_set_late(false);
    ck_assert_int_eq(cudaEventDestroy(event), cudaSuccess);
    ck_assert_int_eq(cudaStreamDestroy(stream), cudaSuccess);
    ck_assert_int_eq(cudaFreeHost(pinned), cudaSuccess);
    ck_assert_int_eq(cudaFree(number), cudaSuccess);
}
END_TEST

START_TEST(allocation_fails_when_the_device_is_full)
{
    void *first = NULL;
    void *second = NULL;
    cuda_emulator_set_memory(1 << 20);
    ck_assert_int_eq(cudaMalloc(&first, 1 << 20), cudaSuccess);
    ck_assert_int_eq(cudaMalloc(&second, 1), cudaErrorMemoryAllocation);
    ck_assert_int_eq(cudaFree(first), cudaSuccess);
    ck_assert_int_eq(cudaMalloc(&second, 1), cudaSuccess);
    ck_assert_int_eq(cudaFree(second), cudaSuccess);
}
END_TEST

static Suite *cuda_emulator_suite(void)
{
    Suite *suite = suite_create("cuda emulator");
    TCase *tests = tcase_create("kernels");
    tcase_add_test(tests, warp_exchanges_as_the_device_does);
    tcase_add_test(tests, warp_does_not_wait_for_lanes_that_returned);
    tcase_add_test(tests, block_meets_at_barriers_in_either_order);
    tcase_add_test(tests, block_hands_over_when_barriers_have_numbers);
    tcase_add_loop_test_raise_signal(tests, process_ends_when_the_device_would_hang_or_err, SIGABRT,
                                     0, FAULTS);
    tcase_add_test(tests, launch_is_refused_beyond_the_limits);
    tcase_add_test(tests, every_call_fails_when_a_kernel_has_failed);
    tcase_add_test(tests, graph_runs_what_was_captured_each_time_it_is_launched);
    tcase_add_test(tests, capture_is_spoiled_when_somebody_waits_or_allocates);
    tcase_add_test(tests, work_waits_for_a_question_when_late);
    tcase_add_test(tests, allocation_fails_when_the_device_is_full);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(cuda_emulator_suite());
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
