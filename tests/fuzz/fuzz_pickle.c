/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_pickle.c - libFuzzer target: any bytes as the pickle of a checkpoint. */
#include <stddef.h>
#include <stdint.h>

#include "engine/pickle_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.bytes_max = 12 << 20};
    struct pickle_table table;
    struct error error;
    const struct text pickle = {.bytes = (const char *)data, .len = size};
    if (pickle_read(pickle, "fuzz", &arena, &table, &error) == ERROR_NONE) {
        for (uint32_t index = 0; index < table.tensor_count; index++) {
            const struct pickle_tensor *tensor = &table.tensors[index];
            ASSERT_COMPARE(tensor->dimension_count, <=, LIMIT_TENSOR_DIMENSIONS);
            /* Borrowed from the pickle. */
            ASSERT(tensor->name.bytes >= pickle.bytes &&
                   tensor->name.bytes + tensor->name.len <= pickle.bytes + pickle.len);
            ASSERT(tensor->storage_key.bytes >= pickle.bytes &&
                   tensor->storage_key.bytes + tensor->storage_key.len <=
                       pickle.bytes + pickle.len);
        }
    }
    arena_reset(&arena);
    return 0;
}
