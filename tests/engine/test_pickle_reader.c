/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a pickle is a program, and a checkpoint may come from anybody. Shown by: programs that
 * want more than a table of tensors, refused with what they wanted; and every prefix and bit flip
 * of a good one, in memory of exact size. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pickle_reader.h"

/* A string with its NULs. */
#define PICKLE(literal) ((struct text){.bytes = (literal), .len = sizeof(literal) - 1})

#define STORAGE(count)                                                                             \
    "((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"                                        \
    "0X\x03\0\0\0"                                                                                 \
    "cpu" count "tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define HOOKS                                                                                      \
    "\x89"                                                                                         \
    "ccollections\nOrderedDict\n)Rt"
#define TENSOR REBUILD STORAGE("K\x06") "K\x00K\x02K\x03\x86K\x03K\x01\x86" HOOKS "R"
#define NAMED(name) "X\x01\0\0\0" name

static const char good[] = "\x80\x02}q\x00(" NAMED("w") "q\x01" TENSOR NAMED("v") TENSOR "u.";

struct outcome {
    enum error_code code;
    struct error error;
    struct pickle_table table; /* Its memory is gone; the first tensor is kept. */
    struct pickle_tensor first;
};

/* Reads a copy of exact size, so that a sanitizer sees a read past the end. */
static struct outcome read_pickle(struct text pickle, size_t bytes_max)
{
    struct outcome outcome = {0};
    struct arena arena = {.bytes_max = bytes_max};
    char *exact = malloc(pickle.len + (pickle.len == 0));
    memcpy(exact, pickle.bytes, pickle.len);
    outcome.code = pickle_read((struct text){.bytes = exact, .len = pickle.len}, "m.pth", &arena,
                               &outcome.table, &outcome.error);
    if (outcome.code == ERROR_NONE && outcome.table.tensor_count > 0) {
        outcome.first = outcome.table.tensors[0];
        outcome.first.name.bytes = NULL;
        outcome.first.storage_key.bytes = NULL;
    }
    arena_reset(&arena);
    free(exact);
    return outcome;
}

static void assert_refused(struct text pickle, const char *part)
{
    const struct outcome outcome = read_pickle(pickle, 0);
    ck_assert_msg(outcome.code == ERROR_CORRUPT, "expected a refusal with: %s", part);
    ck_assert_msg(strstr(outcome.error.message, part) != NULL, "\"%s\" lacks \"%s\"",
                  outcome.error.message, part);
    ck_assert(strncmp(outcome.error.message, "m.pth: ", 7) == 0);
}

START_TEST(pickle_read_lists_tensors_when_the_program_is_a_checkpoint)
{
    struct arena arena = {0};
    struct pickle_table table;
    struct error error = {0};
    ck_assert_msg(pickle_read(PICKLE(good), "m", &arena, &table, &error) == ERROR_NONE, "%s",
                  error.message);
    ck_assert_uint_eq(table.tensor_count, 2);
    const struct pickle_tensor *tensor = &table.tensors[0];
    ck_assert(text_equals(tensor->name, TEXT("w")));
    ck_assert(text_equals(tensor->storage_key, TEXT("0")));
    ck_assert_int_eq(tensor->type, TENSOR_F32);
    ck_assert_uint_eq(tensor->storage_count, 6);
    ck_assert_uint_eq(tensor->offset, 0);
    ck_assert_uint_eq(tensor->dimension_count, 2);
    ck_assert(tensor->shape[0] == 2 && tensor->shape[1] == 3);
    ck_assert(tensor->strides[0] == 3 && tensor->strides[1] == 1);
    ck_assert(text_equals(table.tensors[1].name, TEXT("v")));
    arena_reset(&arena);
}
END_TEST

START_TEST(pickle_read_reads_numbers_of_every_size)
{
    /* The storage's count: LONG1 of 0, 1, 5, 8 bytes, BININT, BININT2. */
    static const struct {
        struct text pickle;
        uint64_t count;
    } cases[] = {
#define PROGRAM(count) "\x80\x02}" NAMED("w") REBUILD STORAGE(count) "K\x00))" HOOKS "Rs."
#define COUNTED(count) .pickle = {.bytes = PROGRAM(count), .len = sizeof(PROGRAM(count)) - 1}
        {COUNTED("\x8a\x00"), .count = 0},
        {COUNTED("\x8a\x01\x7f"), .count = 127},
        {COUNTED("\x8a\x05\x00\x00\x00\x00\x01"), .count = UINT64_C(1) << 32},
        {COUNTED("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), .count = INT64_MAX},
        {COUNTED("J\x00\x00\x00\x40"), .count = 1 << 30},
        {COUNTED("M\xff\xff"), .count = 65535},
#undef COUNTED
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        const struct outcome outcome = read_pickle(cases[index].pickle, 0);
        ck_assert_msg(outcome.code == ERROR_NONE, "%zu: %s", index, outcome.error.message);
        ck_assert_uint_eq(outcome.first.storage_count, cases[index].count);
        ck_assert_uint_eq(outcome.first.dimension_count, 0);
    }
#define COUNTED(count) PICKLE(PROGRAM(count))
    assert_refused(COUNTED("\x8a\x01\xff"), "no storage");      /* -1 */
    assert_refused(COUNTED("J\xff\xff\xff\xff"), "no storage"); /* -1 */
    assert_refused(COUNTED("\x8a\x09\x01\0\0\0\0\0\0\0\0"), "past 64 bits");
    assert_refused(COUNTED("N"), "no storage");
#undef COUNTED
#undef PROGRAM
}
END_TEST

START_TEST(pickle_read_unwraps_when_the_table_is_the_only_value_of_a_known_key)
{
    ck_assert_uint_eq(read_pickle(PICKLE("}X\x0a\0\0\0state_dict}" NAMED("w") TENSOR "ss."), 0)
                          .table.tensor_count,
                      1);
    ck_assert_uint_eq(
        read_pickle(PICKLE("}X\x06\0\0\0module}" NAMED("w") TENSOR "ss."), 0).table.tensor_count,
        1);
    assert_refused(PICKLE("}X\x05\0\0\0other}" NAMED("w") TENSOR "ss."), "something else");
    assert_refused(PICKLE("}X\x05\0\0\0modelK\x01s."), "something else");
    assert_refused(PICKLE("}K\x01" TENSOR "s."), "something else");
    assert_refused(PICKLE("K\x01."), "not a dictionary");
    assert_refused(PICKLE(TENSOR "."), "not a dictionary");
}
END_TEST

START_TEST(pickle_read_names_the_function_when_it_is_not_allowed)
{
    assert_refused(PICKLE("\x80\x02"
                          "cos\nsystem\n(X\x02\0\0\0lstR."),
                   "it calls for os.system");
    assert_refused(PICKLE("cbuiltins\neval\n."), "builtins.eval");
    assert_refused(PICKLE("ctorch\nload\n."), "torch.load");
    assert_refused(PICKLE("ctorch._utils\n_rebuild_tensor_v3\n."), "_rebuild_tensor_v3");
    assert_refused(PICKLE("ctorch\nDoubleStorage\n."), "torch.DoubleStorage, supported: BFloat16");
    assert_refused(PICKLE("X\x05\0\0\0posixX\x06\0\0\0system\x93."), "posix.system");
    assert_refused(PICKLE("co\x1bs\nsys\"tem\n."), "o?s.sys\"tem");
    assert_refused(PICKLE("cos\nsystem"), "ends within a function's name");
    assert_refused(PICKLE("\x93"), "a function without a name");
}
END_TEST

START_TEST(pickle_read_refuses_when_an_instruction_is_not_allowed)
{
    static const unsigned char allowed[] =
        "\x80(NJKMGX])}c.qrhjtsuaeRbQ\x85\x86\x87\x88\x89\x8a\x8c\x93";
    for (int byte = 0; byte < 256; byte++) {
        const char program[] = {(char)byte, '.'};
        if (byte == 0 || memchr(allowed, byte, sizeof(allowed) - 1) == NULL) {
            assert_refused((struct text){.bytes = program, .len = 2}, "instruction 0x");
        }
    }
}
END_TEST

START_TEST(pickle_read_refuses_when_the_program_makes_no_sense)
{
    assert_refused(PICKLE(""), "truncated");
    assert_refused(PICKLE("."), "no result");
    assert_refused(PICKLE("}}."), "several");
    assert_refused(PICKLE("}.x"), "bytes after STOP");
    assert_refused(PICKLE("\x80\x09}."), "protocol");
    assert_refused(PICKLE("R"), "no function");
    assert_refused(PICKLE("K\x01)R"), "no function");
    assert_refused(PICKLE("ctorch\nFloatStorage\n)R"), "no function");
    assert_refused(PICKLE("ccollections\nOrderedDict\nK\x01\x85R"), "made from arguments");
    assert_refused(PICKLE("ctorch._utils\n_rebuild_parameter\n)R"), "no tensor");
    assert_refused(PICKLE(REBUILD ")R"), "make no sense");
    assert_refused(PICKLE("}Q"), "no storage");
    assert_refused(PICKLE("s"), "without key or value");
    assert_refused(PICKLE("(s"), "without key or value");
    assert_refused(PICKLE("K\x01K\x01K\x01s"), "no dictionary");
    assert_refused(PICKLE("}(K\x01u"), "no dictionary");
    assert_refused(PICKLE("u"), "without a mark");
    assert_refused(PICKLE("t"), "without a mark");
    assert_refused(PICKLE("K\x01\x86"), "more than there is");
    assert_refused(PICKLE("(\x85"), "more than there is");
    assert_refused(PICKLE("K\x01"
                          "a"),
                   "no list");
    assert_refused(PICKLE("e"), "no list");
    assert_refused(PICKLE("]}b"), "no dictionary");
    assert_refused(PICKLE("q\x00"), "nothing to remember");
    assert_refused(PICKLE("(q\x00"), "nothing to remember");
    assert_refused(PICKLE("}q\x01"), "not filled in order");
    assert_refused(PICKLE("}r\xff\xff\xff\xff"), "not filled in order");
    assert_refused(PICKLE("h\x00"), "no such value");
    assert_refused(PICKLE("j\x00\x00\x00\x00"), "no such value");
    assert_refused(PICKLE("X\xff\xff\xff\xff"
                          "abc"),
                   "ends within a text");
    assert_refused(PICKLE("\x8c\x05"
                          "abc"),
                   "ends within a text");
    assert_refused(PICKLE("G1234567"), "ends within a number");
    /* Negative strides, more dimensions than strides, nine dimensions. */
#define SHAPED(shape, strides) PICKLE(REBUILD STORAGE("K\x06") "K\x00" shape strides HOOKS "R.")
    assert_refused(SHAPED("K\x02\x85", "J\xff\xff\xff\xff\x85"), "make no sense");
    assert_refused(SHAPED("K\x02K\x03\x86", "K\x01\x85"), "make no sense");
    assert_refused(SHAPED("(KaKaKaKaKaKaKaKaKat", "(KaKaKaKaKaKaKaKaKat"), "make no sense");
#undef SHAPED
}
END_TEST

START_TEST(pickle_read_refuses_when_the_stack_is_full)
{
    const size_t count = 65537;
    char *program = malloc(count);
    memset(program, 'N', count);
    assert_refused((struct text){.bytes = program, .len = count - 1}, "truncated");
    assert_refused((struct text){.bytes = program, .len = count}, "on the stack");
    free(program);
}
END_TEST

START_TEST(pickle_read_stays_within_its_memory_when_the_program_wants_more)
{
    /* Dictionaries without end, each a byte of program. */
    const size_t count = 60000;
    char *program = malloc(count);
    memset(program, '}', count);
    const struct outcome outcome =
        read_pickle((struct text){.bytes = program, .len = count}, 2 << 20);
    ck_assert_int_eq(outcome.code, ERROR_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(outcome.error.message, "more memory"));
    free(program);
}
END_TEST

START_TEST(pickle_read_ends_in_an_answer_when_a_program_is_cut_or_flipped)
{
    char program[sizeof(good) - 1];
    for (size_t len = 0; len < sizeof(program); len++) {
        ck_assert_int_eq(read_pickle((struct text){.bytes = good, .len = len}, 0).code,
                         ERROR_CORRUPT);
    }
    for (size_t at = 0; at < sizeof(program); at++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(program, good, sizeof(program));
            program[at] = (char)(program[at] ^ 1 << bit);
            const struct outcome outcome =
                read_pickle((struct text){.bytes = program, .len = sizeof(program)}, 4 << 20);
            ck_assert(outcome.code == ERROR_NONE || outcome.code == ERROR_CORRUPT);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pickle reader");
    TCase *tests = tcase_create("pickle reader");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, pickle_read_lists_tensors_when_the_program_is_a_checkpoint);
    tcase_add_test(tests, pickle_read_reads_numbers_of_every_size);
    tcase_add_test(tests, pickle_read_unwraps_when_the_table_is_the_only_value_of_a_known_key);
    tcase_add_test(tests, pickle_read_names_the_function_when_it_is_not_allowed);
    tcase_add_test(tests, pickle_read_refuses_when_an_instruction_is_not_allowed);
    tcase_add_test(tests, pickle_read_refuses_when_the_program_makes_no_sense);
    tcase_add_test(tests, pickle_read_refuses_when_the_stack_is_full);
    tcase_add_test(tests, pickle_read_stays_within_its_memory_when_the_program_wants_more);
    tcase_add_test(tests, pickle_read_ends_in_an_answer_when_a_program_is_cut_or_flipped);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
