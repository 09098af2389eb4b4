/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that all sets of CPU kernels, with any number of threads, are RWKV-7. Shown by: the
 * conformance suite on each; threads must not change a bit, nor AVX-512 one of AVX2's.
 * usage: test_cpu_conformance [name, e.g. "avx2, 1 thread"]; 77: this processor has no such. */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_backend.h"
#include "tests/conformance/backend_conformance.h"

static enum error_code open_cpu(const struct conformance_backend *self,
                                const struct model_spec *spec,
                                const struct backend_options *options,
                                struct backend **backend_out, struct error *error)
{
    return cpu_backend_open_with(spec, options, self->context, backend_out, error);
}

enum { BACKENDS_MAX = 8, EXIT_SKIPPED = 77 };

static struct conformance_backend backends[BACKENDS_MAX];

/* f32 throughout: errors of 4e-6 were measured against float64; 5e-5 leaves room for other orders
 * of summation and rejects every known mistake, the smallest of which is off by 3e-3. */
static void add_backend(const char *name, const struct cpu_kernels *kernels, uint32_t thread_count,
                        const struct conformance_backend *twin,
                        struct conformance_backend *backend)
{
    *backend = (struct conformance_backend){
        .name = name,
        .open = open_cpu,
        .context = kernels,
        .thread_count = thread_count,
        .logit_error_max = 5e-5,
        .state_error_max = 1e-5,
        .company_is_exact = true,
        .twin = twin,
    };
}

int main(int argument_count, char **arguments)
{
    const struct cpu_kernels *avx2 = cpu_kernels_avx2_if_supported();
    const struct cpu_kernels *avx512 = cpu_kernels_avx512_if_supported(); /* Only with AVX2. */
    add_backend("reference, 1 thread", &cpu_kernels_reference, 1, NULL, &backends[0]);
    add_backend("reference, 2 threads", &cpu_kernels_reference, 2, &backends[0], &backends[1]);
    size_t backend_count = 2;
    if (avx2 != NULL) {
        add_backend("avx2, 1 thread", avx2, 1, NULL, &backends[2]);
        add_backend("avx2, 2 threads", avx2, 2, &backends[2], &backends[3]);
        add_backend("avx2, 3 threads", avx2, 3, &backends[2], &backends[4]);
        backend_count = 5;
    }
    if (avx512 != NULL) {
        add_backend("avx512, 1 thread", avx512, 1, &backends[2], &backends[5]);
        add_backend("avx512, 2 threads", avx512, 2, &backends[2], &backends[6]);
        add_backend("avx512, 3 threads", avx512, 3, &backends[2], &backends[7]);
        backend_count = 8;
    }
    const struct conformance_backend *first = backends;
    if (argument_count > 1) {
        while (first < backends + backend_count && strcmp(first->name, arguments[1]) != 0) {
            first++;
        }
        if (first == backends + backend_count) {
            return EXIT_SKIPPED;
        }
        backend_count = 1;
    }
    SRunner *runner =
        srunner_create(backend_conformance_suite("cpu conformance", first, backend_count));
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
