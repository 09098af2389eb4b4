/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that the CUDA backend is RWKV-7, by each of its paths. Shown by: the conformance suite,
 * on the emulator as a card of each kind, and on the device where the build has one.
 * usage: test_cuda_conformance NAME ("capability 9.0"; "device"); 77: there is no such. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_backend.h"
#include "tests/conformance/backend_conformance.h"

#ifdef SKEIN_CUDA_EMULATOR
#include "cuda_emulator.h"
#endif

enum { EXIT_SKIPPED = 77 };

/* What the emulator is to be; 0: the device as it is. */
struct card {
    int major, minor;
};

static enum error_code open_cuda(const struct conformance_backend *self,
                                 const struct model_spec *spec,
                                 const struct backend_options *options,
                                 struct backend **backend_out, struct error *error)
{
#ifdef SKEIN_CUDA_EMULATOR
    const struct card *card = self->context;
    cuda_emulator_set_capability(card->major, card->minor);
#else
    (void)self;
#endif
    return cuda_backend_open(spec, options, backend_out, error);
}

/* f16 operands, f32 sums and states. On the golden tokens, errors of 3.9e-3 of a logit and 1.3e-3
 * of a state's sum were measured against float64, 5e-3 of one number of a state. Every known
 * mistake is off by 9e-2 and more at some token. */
#define CUDA_BACKEND(title, card)                                                                 \
    {                                                                                             \
        .name = (title),                                                                          \
        .open = open_cuda,                                                                        \
        .context = (card),                                                                        \
        .thread_count = 1,                                                                        \
        .logit_error_max = 1e-2,                                                                  \
        .state_error_max = 4e-3,                                                                  \
        .company_is_exact = false,                                                                \
    }

#ifdef SKEIN_CUDA_EMULATOR
static const struct card hopper = {9, 0}, turing = {7, 5};
static const struct conformance_backend backends[] = {
    CUDA_BACKEND("capability 9.0", &hopper),
    CUDA_BACKEND("capability 7.5", &turing),
};
#else
static const struct conformance_backend backends[] = {CUDA_BACKEND("device", NULL)};
#endif

enum { BACKENDS = sizeof(backends) / sizeof(backends[0]) };

static bool is_here(const struct conformance_backend *backend)
{
    struct cuda_device_info device;
    struct error error = {0};
    if (cuda_device_find(&device, &error)) {
        return true;
    }
    printf("skipped: %s: %s\n", backend->name, error.message);
    return false;
}

int main(int argument_count, char **arguments)
{
    const struct conformance_backend *backend = backends;
    while (argument_count > 1 && strcmp(backend->name, arguments[1]) != 0) {
        if (++backend == backends + BACKENDS) {
            printf("skipped: no \"%s\" in this build\n", arguments[1]);
            return EXIT_SKIPPED;
        }
    }
    if (!is_here(backend)) {
        return EXIT_SKIPPED;
    }
    SRunner *runner = srunner_create(backend_conformance_suite("cuda conformance", backend, 1));
#ifndef SKEIN_CUDA_EMULATOR
    srunner_set_fork_status(runner, CK_NOFORK); /* A CUDA context does not survive a fork. */
#endif
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
