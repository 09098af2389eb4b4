/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/backend_conformance.h - one suite that every backend must pass.
 *
 * Each case runs once for each backend of the list. Thread: one. */
#pragma once

#include <check.h>

#include "tests/conformance/conformance_fixture.h"

/* The backends stay borrowed while the suite lives. One suite at a time. */
Suite *backend_conformance_suite(const char *name, const struct conformance_backend *backends,
                                 size_t backend_count);

/* The parts of it; each adds its cases. conformance_under_test(i) is what loop index i names. */
void conformance_add_golden_cases(Suite *suite, int backend_count);
void conformance_add_sequence_cases(Suite *suite, int backend_count);
void conformance_add_state_cases(Suite *suite, int backend_count);
void conformance_add_output_cases(Suite *suite, int backend_count);
const struct conformance_backend *conformance_under_test(int index);
