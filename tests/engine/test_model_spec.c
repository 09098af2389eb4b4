/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: serving something that is not RWKV-7, or RWKV-7 with a part left out, without a word.
 * Shown by: the golden model read, then the same file with one key renamed, cut or reshaped, each
 * refused by name; and keys of other architectures recognised. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model_spec.h"
#include "tests/fakes/golden_model.h"

/* The golden model's file with one replacement of equal length in its header. */
struct altered {
    unsigned char *bytes;
    size_t byte_count;
    struct model_file *file;
};

static void altered_open(struct altered *altered, const struct golden_options *options,
                         const char *old, const char *new)
{
    struct error error = {0};
    altered->bytes = golden_model_bytes(options, &altered->byte_count);
    ck_assert_uint_eq(strlen(old), strlen(new));
    unsigned char *found = memmem(altered->bytes, altered->byte_count, old, strlen(old));
    ck_assert_msg(found != NULL, "\"%s\" is not in the header", old);
    memcpy(found, new, strlen(new));
    ck_assert_msg(model_file_open_memory(altered->bytes, altered->byte_count, "m.st",
                                         &altered->file, &error) == ERROR_NONE,
                  "%s", error.message);
}

static void altered_close(struct altered *altered)
{
    model_file_close(altered->file);
    free(altered->bytes);
}

/* The altered model must be refused with a message that contains both parts. */
static void assert_refused(const char *old, const char *new, const char *part,
                           const char *other_part)
{
    struct altered altered;
    altered_open(&altered, &(struct golden_options){.has_time_state = true}, old, new);
    struct model_spec spec;
    struct error error = {0};
    ck_assert_int_eq(model_spec_read(altered.file, &spec, &error), ERROR_CORRUPT);
    ck_assert_msg(strstr(error.message, part) != NULL && strstr(error.message, other_part) != NULL,
                  "\"%s\" lacks \"%s\" or \"%s\"", error.message, part, other_part);
    ck_assert_msg(strncmp(error.message, "m.st: ", 6) == 0, "%s", error.message);
    ck_assert_ptr_null(spec.layers);
    altered_close(&altered);
}

START_TEST(model_spec_reads_every_number_from_shapes)
{
    struct golden_model model;
    golden_model_open(&model, &(struct golden_options){0});
    const struct model_spec *spec = &model.spec;
    ck_assert_uint_eq(spec->V, 16);
    ck_assert_uint_eq(spec->L, 2);
    ck_assert_uint_eq(spec->C, 128);
    ck_assert_uint_eq(spec->H, 2);
    ck_assert_uint_eq(spec->N, 64);
    ck_assert_uint_eq(spec->F, 256);
    ck_assert_uint_eq(spec->rank_w, 8);
    ck_assert_uint_eq(spec->rank_a, 8);
    ck_assert_uint_eq(spec->rank_v, 8);
    ck_assert_uint_eq(spec->rank_g, 16);
    ck_assert_uint_eq(spec->parameter_count, 289920);
    ck_assert_uint_eq(model_spec_state_floats(spec), 2 * (2 * 64 * 64 + 2 * 128));
    ck_assert_str_eq(spec->head->name.bytes, "head.weight");
    ck_assert_str_eq(spec->layers[1].v2->name.bytes, "blocks.1.att.v2");
    ck_assert_ptr_null(spec->layers[0].v2);
    ck_assert_ptr_null(spec->layers[0].time_state);
    golden_model_close(&model);
}
END_TEST

START_TEST(model_spec_ignores_the_value_residual_of_block_0)
{
    struct golden_model model, other;
    golden_model_open(&model, &(struct golden_options){.has_block_0_value = true});
    golden_model_open(&other, &(struct golden_options){0});
    ck_assert_ptr_null(model.spec.layers[0].v0);
    ck_assert_uint_eq(model.spec.parameter_count, other.spec.parameter_count);
    ck_assert_uint_eq(model.spec.fingerprint, other.spec.fingerprint);
    golden_model_close(&other);
    golden_model_close(&model);
}
END_TEST

START_TEST(model_spec_refuses_when_a_tensor_is_missing_or_unknown)
{
    /* Renaming a key makes it missing; the missing one is found first. */
    assert_refused("\"head.weight\"", "\"heed.weight\"", "tensor head.weight: missing",
                   "supported: RWKV-7 x070");
    assert_refused("blocks.1.att.k_a", "blocks.1.att.k_b", "tensor blocks.1.att.k_a: missing",
                   "supported");
    assert_refused("blocks.1.att.v0", "blocks.1.att.vv", "tensor blocks.1.att.v0: missing",
                   "supported");
    assert_refused("\"emb.weight\"", "\"emc.weight\"", "tensor emb.weight: missing", "supported");
    /* A key of block 0's unused value residual becomes a key that nobody knows. */
    struct altered altered;
    altered_open(&altered, &(struct golden_options){.has_block_0_value = true}, "blocks.0.att.v0",
                 "blocks.0.att.q0");
    struct model_spec spec;
    struct error error = {0};
    ck_assert_int_eq(model_spec_read(altered.file, &spec, &error), ERROR_CORRUPT);
    ck_assert_str_eq(error.message,
                     "m.st: tensor blocks.0.att.q0: unknown; supported: RWKV-7 x070");
    altered_close(&altered);
}
END_TEST

START_TEST(model_spec_refuses_when_a_layer_is_missing)
{
    /* A key of a block 9: L becomes 10. */
    assert_refused("blocks.1.att.k_k", "blocks.9.att.k_k", "missing", "supported");
    /* Not the plain decimal form of a number. */
    assert_refused("blocks.0.ln1.weight", "blocks.+.ln1.weight", "blocks.0.ln1.weight: missing",
                   "supported");
}
END_TEST

START_TEST(model_spec_refuses_when_a_shape_is_wrong)
{
    assert_refused("\"blocks.0.att.r_k\":{\"dtype\":\"BF16\",\"shape\":[2,64]",
                   "\"blocks.0.att.r_k\":{\"dtype\":\"BF16\",\"shape\":[64,2]", "head size 2",
                   "expected 64");
    /* Either way round would be taken: the dimension of 128 tells. */
    assert_refused("\"blocks.1.att.w2\":{\"dtype\":\"BF16\",\"shape\":[8,128]",
                   "\"blocks.1.att.w2\":{\"dtype\":\"BF16\",\"shape\":[16,64]",
                   "tensor blocks.1.att.w2: shape [16,64]", "expected [8,128]");
    assert_refused("\"blocks.0.att.x_r\":{\"dtype\":\"BF16\",\"shape\":[1,1,128]",
                   "\"blocks.0.att.x_r\":{\"dtype\":\"BF16\",\"shape\":[128,1,1]",
                   "shape [128,1,1]", "expected [128]");
    assert_refused("\"head.weight\":{\"dtype\":\"BF16\",\"shape\":[16,128]",
                   "\"head.weight\":{\"dtype\":\"BF16\",\"shape\":[128,16]",
                   "tensor head.weight: shape [128,16]", "expected [16,128]");
    assert_refused("\"blocks.0.att.time_state\":{\"dtype\":\"BF16\",\"shape\":[2,64,64]",
                   "\"blocks.0.att.time_state\":{\"dtype\":\"BF16\",\"shape\":[64,2,64]",
                   "time_state: shape [64,2,64]", "expected [2,64,64]");
}
END_TEST

START_TEST(model_spec_refuses_when_only_some_layers_have_a_tuned_state)
{
    struct altered altered;
    altered_open(&altered,
                 &(struct golden_options){.has_time_state = true, .has_block_0_value = true},
                 "blocks.1.att.time_state", "blocks.1.att.time_stafe");
    struct model_spec spec;
    struct error error = {0};
    ck_assert_int_eq(model_spec_read(altered.file, &spec, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "blocks.1.att.time_state: missing"));
    altered_close(&altered);
}
END_TEST

START_TEST(model_spec_names_the_architecture_when_it_is_another_one)
{
    static const struct {
        const char *old, *new, *architecture;
    } strangers[] = {
        {"blocks.0.att.ln_x.weight", "blocks.0.att.gate.weight", "RWKV-5"},
        {"blocks.0.att.receptance.weight", "blocks.0.att.time_maa_r.weight", "RWKV-6"},
        {"blocks.0.att.time_state", "blocks.0.att.time_decay", "RWKV-4"},
        {"blocks.0.att.time_state", "blocks.0.att.time_first", "RWKV-4"},
        {"blocks.0.ffn.value.weight", "blocks.0.ffn.s_emb.weight", "RWKV-7a"},
        {"blocks.0.ffn.key.weight", "blocks.0.ffn.enn.weight", "RWKV-8"},
        {"blocks.0.ln1.weight", "blocks.0.qkv.lnq.wt", "RWKV-7b"},
        {"blocks.0.att.receptance.weight", "blocks.0.ffn.receptance.weight", "RWKV-4, 5 or 6"},
        {"blocks.0.att.ln_x.weight", "model.lay0.attn.q_proj.w", "hybrid"},
        {"blocks.0.att.ln_x.weight", "model.lay0.self_attn.q.w", "transformer"},
        {"blocks.0.att.ln_x.weight", "model.lay0.mlp.gate_proj", "gated MLP"},
    };
    for (size_t index = 0; index < sizeof(strangers) / sizeof(strangers[0]); index++) {
        assert_refused(strangers[index].old, strangers[index].new, strangers[index].architecture,
                       "supported: RWKV-7 x070");
    }
}
END_TEST

START_TEST(model_spec_fingerprint_tells_models_apart)
{
    struct golden_model model, other_type;
    golden_model_open(&model, &(struct golden_options){0});
    golden_model_open(&other_type, &(struct golden_options){.type = TENSOR_F32});
    ck_assert_uint_ne(model.spec.fingerprint, other_type.spec.fingerprint);
    ck_assert_uint_ne(model.spec.fingerprint, 0);

    /* One weight changed at the start of a tensor. */
    const uint64_t before = model.spec.fingerprint;
    unsigned char *data = (unsigned char *)(uintptr_t)model.spec.head->data;
    data[1] ^= 1;
    struct model_spec changed;
    struct error error = {0};
    ck_assert_int_eq(model_spec_read(model.file, &changed, &error), ERROR_NONE);
    ck_assert_uint_ne(changed.fingerprint, before);
    model_spec_deinit(&changed);
    golden_model_close(&other_type);
    golden_model_close(&model);
}
END_TEST

START_TEST(model_spec_initial_state_holds_the_tuned_matrices)
{
    struct golden_model model, plain;
    golden_model_open(&model, &(struct golden_options){.has_time_state = true});
    golden_model_open(&plain, &(struct golden_options){0});
    const size_t floats = model_spec_state_floats(&model.spec);
    float *state = malloc(floats * sizeof(*state));
    ck_assert(model_spec_initial_state(&model.spec, state));
    static double expected[2 * 64 * 64];
    golden_tensor("blocks.1.att.time_state", expected);
    ck_assert_uint_ne(model.spec.fingerprint, plain.spec.fingerprint);
    const float *layer = state + floats / 2;
    ck_assert(layer[0] == 0.0f && layer[127] == 0.0f && layer[floats / 2 - 1] == 0.0f);
    ck_assert((double)layer[128] == expected[0] && (double)layer[128 + 8191] == expected[8191]);
    ck_assert(!model_spec_initial_state(&plain.spec, state));
    for (size_t index = 0; index < floats; index++) {
        ck_assert(state[index] == 0.0f);
    }
    free(state);
    golden_model_close(&plain);
    golden_model_close(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model spec");
    TCase *tests = tcase_create("spec");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, model_spec_reads_every_number_from_shapes);
    tcase_add_test(tests, model_spec_ignores_the_value_residual_of_block_0);
    tcase_add_test(tests, model_spec_refuses_when_a_tensor_is_missing_or_unknown);
    tcase_add_test(tests, model_spec_refuses_when_a_layer_is_missing);
    tcase_add_test(tests, model_spec_refuses_when_a_shape_is_wrong);
    tcase_add_test(tests, model_spec_refuses_when_only_some_layers_have_a_tuned_state);
    tcase_add_test(tests, model_spec_names_the_architecture_when_it_is_another_one);
    tcase_add_test(tests, model_spec_fingerprint_tells_models_apart);
    tcase_add_test(tests, model_spec_initial_state_holds_the_tuned_matrices);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
