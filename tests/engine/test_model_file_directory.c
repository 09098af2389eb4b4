/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: config.json and the index choose files and meaning; a wrong choice gives a wrong model
 * or another file of the machine. Shown by: every rule of config.json broken once, and indexes that
 * name what they must not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model_spec.h"
#include "tests/fakes/golden_files.h"

static char directory[64];

static void make_directory(void)
{
    snprintf(directory, sizeof(directory), "/tmp/skein-test-directory-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    golden_directory_remove(directory);
}

/* Opens the directory as a model; what was found wrong goes into *error. */
static enum error_code open_directory(struct error *error)
{
    struct model_file *file = NULL;
    struct model_spec spec;
    *error = (struct error){0};
    enum error_code code = model_file_open(directory, &file, error);
    if (code == ERROR_NONE) {
        code = model_spec_read(file, &spec, error);
        if (code == ERROR_NONE) {
            model_spec_deinit(&spec);
        }
    }
    model_file_close(file);
    return code;
}

static void assert_opens(const struct golden_directory_options *options)
{
    struct error error;
    golden_directory_write(directory, options);
    ck_assert_msg(open_directory(&error) == ERROR_NONE, "%s", error.message);
}

static void assert_refused(const struct golden_directory_options *options, const char *part)
{
    struct error error;
    golden_directory_write(directory, options);
    ck_assert_msg(open_directory(&error) == ERROR_CORRUPT, "expected a refusal with: %s", part);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" lacks \"%s\"", error.message, part);
    ck_assert(strncmp(error.message, directory, strlen(directory)) == 0);
}

#define BASE "\"model_type\":\"rwkv7\""

START_TEST(directory_opens_when_its_config_says_little)
{
    assert_opens(&(struct golden_directory_options){0});
    assert_opens(&(struct golden_directory_options){.config = "{" BASE "}"});
    assert_opens(&(struct golden_directory_options){
        .config =
            "{" BASE ",\"attn\":null,\"hidden_size\":128,\"value_dim\":128,\"norm_eps\":0.00001,"
            "\"architectures\":[\"Rwkv7ForCausalLM\"],\"auto_map\":{\"a\":[1,{}]}}"});
    assert_opens(&(struct golden_directory_options){.is_tied = true});
}
END_TEST

START_TEST(directory_is_refused_when_its_config_names_another_model)
{
    static const struct {
        const char *config, *part;
    } cases[] = {
        {"{}", "model_type is absent, expected \"rwkv7\""},
        {"{\"model_type\":\"rwkv6\"}",
         "model_type is \"rwkv6\", expected \"rwkv7\"; supported: RWKV-7"},
        {"{" BASE ",\"architectures\":[\"RwkvHybridForCausalLM\"]}", "RwkvHybridForCausalLM"},
        {"{" BASE ",\"attn\":{\"layers\":[3]}}", "hybrid with attention layers"},
        {"{" BASE ",\"hidden_act\":\"swish\"}", "hidden_act is \"swish\", expected \"sqrelu\""},
        {"{" BASE ",\"norm_first\":false}", "norm_first is false"},
        {"{" BASE ",\"norm_bias\":false}", "norm_bias is false"},
        {"{" BASE ",\"norm_eps\":1e-6}", "norm_eps is 1e-6, expected 1e-05"},
        {"{" BASE ",\"head_dim\":128}", "head_dim is 128, expected 64"},
        {"{" BASE ",\"hidden_size\":128,\"value_dim\":[128,256]}", "value_dim is [128,256]"},
        {"{" BASE ",\"hidden_size\":-1}", "hidden_size is -1, expected a whole number"},
        {"{" BASE ",\"hidden_size\":256}", "hidden_size says 256, tensor emb.weight 128"},
        {"{" BASE ",\"num_hidden_layers\":3}", "num_hidden_layers says 3"},
        {"{" BASE ",\"num_hidden_layers\":1}", "num_hidden_layers says 1"},
        {"{" BASE ",\"intermediate_size\":512}", "says 512, tensor blocks.0.ffn.key.weight 256"},
        {"{" BASE ",\"hidden_size\":128,\"hidden_ratio\":4.0}", "says 512"},
        {"[1]", "config.json is not one JSON object"},
        {"{" BASE "} x", "config.json is not one JSON object"},
        {"{" BASE, "config.json is not one JSON object"},
        {"", "config.json is not one JSON object"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        assert_refused(&(struct golden_directory_options){.config = cases[index].config},
                       cases[index].part);
    }
}
END_TEST

START_TEST(index_is_refused_when_it_names_what_is_not_a_file_beside_it)
{
    static const struct {
        const char *name, *part;
    } cases[] = {
        {"../model.safetensors", "not a file of this directory"},
        {"/etc/hostname", "not a file of this directory"},
        {"a\\\\b", "not a file of this directory"},
        {".hidden", "not a file of this directory"},
        {"", "not a file of this directory"},
        {"gone.safetensors", "shard gone.safetensors is missing"},
        {"config.json", "config.json: not a .safetensors file"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        assert_refused(
            &(struct golden_directory_options){.shard_count = 2, .shard_name = cases[index].name},
            cases[index].part);
    }
}
END_TEST

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *stream = fopen(path, "w");
    ck_assert_ptr_nonnull(stream);
    fputs(text, stream);
    fclose(stream);
}

static void assert_directory_refused(const char *part)
{
    struct error error;
    ck_assert_int_eq(open_directory(&error), ERROR_CORRUPT);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" lacks \"%s\"", error.message, part);
}

START_TEST(directory_is_refused_when_weights_are_missing_or_not_fetched)
{
    assert_directory_refused("a directory without config.json");
    write_file("config.json", "{" BASE "}");
    assert_directory_refused("neither model.safetensors nor");
    write_file("model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    assert_directory_refused("a Git LFS pointer");
    write_file("model.safetensors", "");
    assert_directory_refused("not a .safetensors file");
    write_file("model.safetensors.index.json", "{\"weight_map\":{}}");
    assert_directory_refused("no weight_map");
    write_file("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"b\"}");
    assert_directory_refused("no weight_map");
    write_file("model.safetensors.index.json", "{\"metadata\":{}}");
    assert_directory_refused("no weight_map");
}
END_TEST

/* A shard that is there twice, or lacks a tensor. */
START_TEST(directory_is_refused_when_index_and_shards_do_not_agree)
{
    golden_directory_write(directory, &(struct golden_directory_options){.shard_count = 2});
    write_file("model.safetensors.index.json",
               "{\"weight_map\":{\"model.norm.weight\":\"model-00001-of-00002.safetensors\"}}");
    assert_directory_refused("the index promises 1 tensors, its files hold");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model directory");
    TCase *tests = tcase_create("directory");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, directory_opens_when_its_config_says_little);
    tcase_add_test(tests, directory_is_refused_when_its_config_names_another_model);
    tcase_add_test(tests, index_is_refused_when_it_names_what_is_not_a_file_beside_it);
    tcase_add_test(tests, directory_is_refused_when_weights_are_missing_or_not_fetched);
    tcase_add_test(tests, directory_is_refused_when_index_and_shards_do_not_agree);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
