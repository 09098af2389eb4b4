/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator.h - what the emulator's files share: work of a stream, final errors,
 * known memory, one block.
 *
 * Thread: one at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

#include "cuda_emulator.h"
#include "cuda_runtime_api.h"
#include "emulated_block.h"

/* ---- emulator_device.cpp ----------------------------------------------------------------- */

/* Notes what cudaGetLastError will say, unless it is success; returns it. */
cudaError_t emulator_result(cudaError_t error);

/* The error that every call gives from now on; cudaSuccess: none. */
cudaError_t emulator_final_error(void);

/* Counts a kernel that is about to run; false: the device has failed, or fails just now. */
bool emulator_may_launch(void);

/* Ends the process: a call that would be undefined on the device, or that the emulator lacks. */
[[noreturn]] void emulator_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a block may have at most, opted in; 10 * major + minor of the device. */
size_t emulator_shared_bytes_max(void);
int emulator_capability(void);
bool emulator_is_reverse(void);
bool emulator_is_late(void);

/* ---- emulator_work.cpp ------------------------------------------------------------------- */

typedef std::function<void()> emulator_work;

/* Runs it now, or when the stream comes to it, or puts it into the graph being captured. */
cudaError_t emulator_submit(cudaStream_t stream, emulator_work work);

/* Runs everything submitted so far. */
void emulator_drain(void);

/* Whether a call that no capture may contain is made during one; such a call spoils it. */
bool emulator_spoils_capture(void);

/* ---- emulator_memory.cpp ----------------------------------------------------------------- */

enum emulator_memory { EMULATOR_DEVICE, EMULATOR_PINNED, EMULATOR_PAGEABLE };

/* Which memory [address, address + bytes) is; ends the process when it only begins in a block. */
enum emulator_memory emulator_memory_of(const void *address, size_t bytes, const char *call);

/* ---- emulator_block.cpp ------------------------------------------------------------------ */

/* Runs one block to its end. `shared` is its dynamic shared memory. */
void emulator_run_block(const char *kernel, dim3 grid, dim3 block, uint3 index,
                        unsigned char *shared, const std::function<void()> &thread_work);
