/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_model_file.c - libFuzzer target: any bytes as a weight file.
 *
 * Opens them, reads the model, the state and every byte of every tensor. CRC-32 is 0 here for all
 * bytes (run.sh links it so), or no changed .pth would get past it; the corpus is written so. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/tuned_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
unsigned long __wrap_crc32_z(unsigned long crc, const unsigned char *bytes, size_t byte_count);

unsigned long __wrap_crc32_z(unsigned long crc, const unsigned char *bytes, size_t byte_count)
{
    (void)crc;
    (void)bytes;
    (void)byte_count;
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_configure(LOG_ERROR, LOG_FORMAT_TEXT);
    return 0;
}

static void on_progress(void *context, size_t done_bytes, size_t total_bytes)
{
    (void)context;
    ASSERT_COMPARE(done_bytes, <=, total_bytes);
}

/* Touches all bytes, so that a wrong place is seen. */
static void read_tensors(const struct model_file *file)
{
    static volatile unsigned char sink;
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        const struct tensor *tensor = model_file_tensor_at(file, index);
        const unsigned char *bytes = tensor->data;
        unsigned char sum = 0;
        for (size_t at = 0; at < tensor->bytes; at++) {
            sum = (unsigned char)(sum + bytes[at]);
        }
        sink = sum;
        ASSERT(model_file_find(file, tensor->name.bytes) == tensor);
    }
    (void)sink;
}

static void read_state(const struct model_file *file, const struct model_spec *spec)
{
    struct tuned_state tuned;
    struct error error;
    if (tuned_state_open(NULL, file, spec, TUNED_STATE_AUTO, &tuned, &error) == ERROR_NONE) {
        tuned_state_close(&tuned);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_file *file = NULL;
    struct model_spec spec;
    struct error error;
    size_t checked_bytes;
    if (model_file_open_memory(data, size, "fuzz", &file, &error) != ERROR_NONE) {
        return 0;
    }
    read_tensors(file);
    (void)model_file_verify(file, on_progress, NULL, &checked_bytes);
    if (model_spec_read(file, &spec, &error) == ERROR_NONE) {
        read_state(file, &spec);
        model_spec_deinit(&spec);
    }
    model_file_close(file);
    return 0;
}
