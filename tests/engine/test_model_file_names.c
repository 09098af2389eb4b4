/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a tensor taken for another one, or a matrix the wrong way round, is a wrong model that
 * loads. Shown by: every alias, what must stay as it is, and small files with one odd matrix. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/golden_files.h"

enum { C = 8, RANK = 2 };

/* A tensor of those rows and columns whose elements count up from 0; columns 0: a vector. */
static struct golden_tensor make_tensor(const char *name, uint64_t rows, uint64_t columns)
{
    struct golden_tensor tensor = {.type = TENSOR_F32, .shape = {rows, columns}};
    const size_t count = (size_t)(rows * (columns == 0 ? 1 : columns));
    tensor.dimension_count = columns == 0 ? 1 : 2;
    tensor.bytes = count * sizeof(float);
    tensor.data = malloc(tensor.bytes);
    snprintf(tensor.name, sizeof(tensor.name), "%s", name);
    for (size_t index = 0; index < count; index++) {
        const float value = (float)index;
        memcpy(tensor.data + index * sizeof(value), &value, sizeof(value));
    }
    return tensor;
}

static void *file_bytes; /* Of the file that was opened last. */

/* Opens a file of these tensors, which it takes. */
static enum error_code open_tensors(struct golden_tensor *tensors, size_t count,
                                    struct model_file **file_out, struct error *error)
{
    size_t byte_count;
    file_bytes = golden_safetensors_bytes(tensors, count, 0, &byte_count);
    golden_tensors_free(tensors, count);
    *error = (struct error){0};
    return model_file_open_memory(file_bytes, byte_count, "m", file_out, error);
}

static void close_file(struct model_file *file)
{
    model_file_close(file);
    free(file_bytes);
}

START_TEST(names_become_official_when_they_are_known)
{
    static const struct {
        const char *found, *official;
    } cases[] = {
        {"model.embeddings.weight", "emb.weight"},
        {"rwkv.embeddings.weight", "emb.weight"},
        {"model.emb.weight", "emb.weight"},
        {"_forward_module.model.emb.weight", "emb.weight"},
        {"module.module.head.weight", "head.weight"},
        {"lm_head.weight", "head.weight"},
        {"model.norm.bias", "ln_out.bias"},
        {"model.layers.0.pre_norm.weight", "blocks.0.ln0.weight"},
        {"rwkv.blocks.0.pre_ln.bias", "blocks.0.ln0.bias"},
        {"model.layers.31.attn_norm.weight", "blocks.31.ln1.weight"},
        {"model.layers.31.ffn_norm.bias", "blocks.31.ln2.bias"},
        {"model.layers.2.attn.x_r", "blocks.2.att.x_r"},
        {"model.layers.2.attn.r_proj.weight", "blocks.2.att.receptance.weight"},
        {"model.layers.2.attn.o_proj.weight", "blocks.2.att.output.weight"},
        {"model.layers.2.attn.g_norm.weight", "blocks.2.att.ln_x.weight"},
        {"model.layers.2.attn.a_lora.lora.2.bias", "blocks.2.att.a0"},
        {"model.layers.2.ffn.key.weight", "blocks.2.ffn.key.weight"},
        {"model.blocks.2.attention.receptance.weight", "blocks.2.att.receptance.weight"},
        {"model.blocks.2.feed_forward.value.weight", "blocks.2.ffn.value.weight"},
        {"module.blocks.2.att.time_state", "blocks.2.att.time_state"},
        /* These have no official name and keep their own. */
        {"model.layers.2.attn.q_proj.weight", "model.layers.2.attn.q_proj.weight"},
        {"model.layers.02.attn.x_r", "model.layers.02.attn.x_r"},
        {"model.layers.x.attn.x_r", "model.layers.x.attn.x_r"},
        {"model.layers.99999.attn.x_r", "model.layers.99999.attn.x_r"},
        {"model.anything", "model.anything"},
        {"blocks.0.att.w1.extra", "blocks.0.att.w1.extra"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct golden_tensor tensors[] = {make_tensor(cases[index].found, C, 0)};
        struct model_file *file = NULL;
        struct error error;
        ck_assert_msg(open_tensors(tensors, 1, &file, &error) == ERROR_NONE, "%s", error.message);
        ck_assert_str_eq(model_file_tensor_at(file, 0)->name.bytes, cases[index].official);
        ck_assert_ptr_nonnull(model_file_find(file, cases[index].official));
        close_file(file);
    }
}
END_TEST

START_TEST(file_is_refused_when_two_names_mean_one_tensor)
{
    struct golden_tensor tensors[] = {make_tensor("emb.weight", C, 0),
                                      make_tensor("model.embeddings.weight", C, 0)};
    struct model_file *file = NULL;
    struct error error;
    ck_assert_int_eq(open_tensors(tensors, 2, &file, &error), ERROR_CORRUPT);
    ck_assert_str_eq(error.message, "m: tensor emb.weight: the name comes twice");
    close_file(file);
}
END_TEST

START_TEST(low_rank_matrix_is_turned_when_its_channels_are_on_the_other_side)
{
    for (int is_turned = 0; is_turned < 2; is_turned++) {
        struct golden_tensor tensors[] = {
            make_tensor("emb.weight", 3, C),
            make_tensor("blocks.0.att.w1", is_turned ? RANK : C, is_turned ? C : RANK),
            make_tensor("blocks.0.att.g2", is_turned ? C : RANK, is_turned ? RANK : C),
        };
        struct model_file *file = NULL;
        struct error error;
        ck_assert_int_eq(open_tensors(tensors, 3, &file, &error), ERROR_NONE);
        ck_assert(model_file_has_transposed_low_rank(file) == (is_turned == 1));
        ck_assert_uint_eq(model_file_copied_bytes(file),
                          is_turned ? 2 * C * RANK * sizeof(float) : 0);
        const struct tensor *w1 = model_file_find(file, "blocks.0.att.w1");
        const struct tensor *g2 = model_file_find(file, "blocks.0.att.g2");
        ck_assert(w1->shape[0] == C && w1->shape[1] == RANK);
        ck_assert(g2->shape[0] == RANK && g2->shape[1] == C);
        /* Row 1, column 0 of w1; row 0, column 1 of g2. */
        ck_assert(tensor_element(w1, RANK) == (is_turned ? 1.0f : (float)RANK));
        ck_assert(tensor_element(g2, 1) == (is_turned ? (float)RANK : 1.0f));
        close_file(file);
    }
}
END_TEST

START_TEST(low_rank_matrix_is_refused_when_it_is_square)
{
    struct golden_tensor tensors[] = {make_tensor("emb.weight", 3, C),
                                      make_tensor("blocks.0.att.a1", C, C)};
    struct model_file *file = NULL;
    struct error error;
    ck_assert_int_eq(open_tensors(tensors, 2, &file, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "tensor blocks.0.att.a1: shape [8,8]: which way"));
    close_file(file);
}
END_TEST

START_TEST(joint_mix_becomes_six_vectors_in_place)
{
    static const char *const names[] = {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"};
    struct golden_tensor tensors[] = {make_tensor("model.layers.7.attn.x_x", 6, C),
                                      make_tensor("emb.weight", 3, C)};
    struct model_file *file = NULL;
    struct error error;
    ck_assert_int_eq(open_tensors(tensors, 2, &file, &error), ERROR_NONE);
    ck_assert_uint_eq(model_file_tensor_count(file), 7);
    ck_assert_uint_eq(model_file_copied_bytes(file), 0);
    for (size_t row = 0; row < 6; row++) {
        char name[64];
        snprintf(name, sizeof(name), "blocks.7.att.%s", names[row]);
        const struct tensor *vector = model_file_find(file, name);
        ck_assert_ptr_nonnull(vector);
        ck_assert(vector->dimension_count == 1 && vector->shape[0] == C);
        ck_assert(tensor_element(vector, 0) == (float)(row * C));
    }
    close_file(file);
}
END_TEST

START_TEST(joint_mix_is_refused_when_it_is_not_six_rows_of_the_channels)
{
    static const uint64_t shapes[][2] = {{5, C}, {6, C + 1}, {C, 6}};
    for (size_t index = 0; index < 3; index++) {
        struct golden_tensor tensors[] = {
            make_tensor("blocks.0.att.x_x", shapes[index][0], shapes[index][1]),
            make_tensor("emb.weight", 3, C)};
        struct model_file *file = NULL;
        struct error error;
        ck_assert_int_eq(open_tensors(tensors, 2, &file, &error), ERROR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(error.message, "blocks.0.att.x_x: expected shape [6,8]"));
        close_file(file);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model file names");
    TCase *tests = tcase_create("names");
    tcase_add_test(tests, names_become_official_when_they_are_known);
    tcase_add_test(tests, file_is_refused_when_two_names_mean_one_tensor);
    tcase_add_test(tests, low_rank_matrix_is_turned_when_its_channels_are_on_the_other_side);
    tcase_add_test(tests, low_rank_matrix_is_refused_when_it_is_square);
    tcase_add_test(tests, joint_mix_becomes_six_vectors_in_place);
    tcase_add_test(tests, joint_mix_is_refused_when_it_is_not_six_rows_of_the_channels);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
