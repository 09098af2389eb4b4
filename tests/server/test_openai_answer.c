/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a stream says what the whole reply says, in whole characters, each text with its own
 * tokens, and never a part of a stop string or of a tag.
 * Shown by: 10,000 random generations, each streamed and whole, both compared with the text cut at
 * the first stop string by looking at all of it. */
#include "server/openai_answer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text_stream.h"
#include "openai_case.h"

enum { CASES = 10000, TOKENS_MAX = 24, TEXT_MAX = 512 };

/* A generation: its tokens, and the stop strings that may end it. */
struct generation {
    enum reasoning_start start;
    int32_t tokens[TOKENS_MAX];
    uint32_t token_count;
    struct text stops[3];
    uint32_t stop_count;
    char text[TEXT_MAX]; /* What the tokens say, up to the first stop string. */
    size_t text_len;
    bool is_stopped;
};

/* What a reader got. */
struct shown {
    char answer[TEXT_MAX], thought[TEXT_MAX], tokens[TEXT_MAX];
    size_t answer_len, thought_len, tokens_len;
    uint32_t token_count;
};

static struct openai_case server;

static void setup(void)
{
    openai_case_open(&server);
}

static void teardown(void)
{
    openai_case_close(&server);
}

static uint32_t random_below(uint32_t bound)
{
    static uint64_t state = 7;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % bound;
}

/* Letters of few, so that stop strings and tags are likely; halves of characters. */
static void add_random_tokens(struct generation *generation)
{
    static const char *const words[] = {"a",  "b", " ",    "\n",       "</", "think", ">",
                                        "</think>", "<", "\xe2\x82\xac", "U",  "\n\n"};
    const char *word = words[random_below(sizeof(words) / sizeof(words[0]))];
    if (random_below(6) == 0) {
        static const int32_t long_tokens[] = {TOKEN_SPACE_PARIS, TOKEN_USER, 0};
        generation->tokens[generation->token_count++] = long_tokens[random_below(3)];
    } else if (strcmp(word, "\xe2\x82\xac") == 0 && random_below(2) == 0) {
        generation->tokens[generation->token_count++] = TOKEN_EURO_HALF;
        generation->tokens[generation->token_count++] = 0xac + 1;
    } else {
        for (; *word != '\0'; word++) {
            generation->tokens[generation->token_count++] = (unsigned char)*word + 1;
        }
    }
}

/* Cuts the text at the stop string that is complete first, the longest of those. */
static void cut_at_stop(struct generation *generation)
{
    for (size_t end = 1; end <= generation->text_len; end++) {
        size_t longest = 0;
        for (uint32_t index = 0; index < generation->stop_count; index++) {
            const struct text stop = generation->stops[index];
            const bool matches = stop.len <= end && memcmp(generation->text + end - stop.len,
                                                           stop.bytes, stop.len) == 0;
            longest = matches && stop.len > longest ? stop.len : longest;
        }
        if (longest > 0) {
            generation->text_len = end - longest;
            generation->is_stopped = true;
            return;
        }
    }
}

static void append(char *buffer, size_t *len, struct text text)
{
    ck_assert_uint_lt(*len + text.len, TEXT_MAX);
    if (text.len > 0) {
        memcpy(buffer + *len, text.bytes, text.len);
    }
    *len += text.len;
    buffer[*len] = '\0';
}

static void fill(struct generation *generation)
{
    static const struct text stops[] = {
        {.bytes = "\n\nUser:", .len = 7}, {.bytes = "ab", .len = 2}, {.bytes = "\n\n", .len = 2},
        {.bytes = "Paris", .len = 5},     {.bytes = "bab", .len = 3}};
    *generation = (struct generation){.start = (enum reasoning_start)random_below(4)};
    const uint32_t count = random_below(TOKENS_MAX - 8);
    while (generation->token_count < count) {
        add_random_tokens(generation);
    }
    generation->stop_count = random_below(4);
    for (uint32_t index = 0; index < generation->stop_count; index++) {
        generation->stops[index] = stops[random_below(sizeof(stops) / sizeof(stops[0]))];
    }
    for (uint32_t index = 0; index < generation->token_count; index++) {
        const struct text text = tokenizer_decode(server.tokenizer, generation->tokens[index]);
        append(generation->text, &generation->text_len, text);
    }
    cut_at_stop(generation);
}

static void show(struct shown *shown, const struct openai_piece *piece)
{
    ck_assert_msg(utf8_is_valid(piece->text), "'%.*s'", (int)piece->text.len, piece->text.bytes);
    if (piece->kind == OPENAI_PIECE_THOUGHT) {
        append(shown->thought, &shown->thought_len, piece->text);
    } else {
        append(shown->answer, &shown->answer_len, piece->text);
    }
    for (const struct openai_token *token = piece->tokens; token != NULL; token = token->next) {
        shown->token_count++;
        if (!token->is_thought) {
            append(shown->tokens, &shown->tokens_len, openai_token_text(token));
        }
    }
}

/* A stream's pieces are shown, and kept as for a whole reply. */
static void take_pieces(struct openai_answer *answer, const struct openai_reply *reply,
                        struct shown *shown)
{
    struct openai_piece piece;
    while (openai_answer_next(answer, &piece)) {
        ck_assert_uint_gt(piece.text.len, 0);
        show(shown, &piece);
        ck_assert(openai_answer_keep(answer, &piece, reply, &server.arena));
    }
}

static void push(struct openai_answer *answer, struct text text, const struct openai_token *token)
{
    ck_assert(openai_answer_push(answer, text, token, &server.arena));
}

/* What the engine would do with the tokens. */
static void run(const struct generation *generation, bool follows_tokens,
                struct openai_answer *answer, struct shown *shown)
{
    const struct openai_reply reply = {.chat = true, .logprobs = true, .token_ids = true};
    struct text_stream stream;
    char piece[TEXT_STREAM_PIECE_BYTES];
    text_stream_init(&stream, generation->stops, generation->stop_count, 0);
    openai_answer_init(answer, generation->start, TOOL_CALL_START_NONE, follows_tokens);
    for (uint32_t index = 0; index < generation->token_count && !stream.stopped; index++) {
        const struct openai_token token = {.tokenizer = server.tokenizer,
                                           .id = generation->tokens[index]};
        const struct text bytes = tokenizer_decode(server.tokenizer, token.id);
        const size_t len = text_stream_push(&stream, bytes, piece);
        push(answer, (struct text){.bytes = piece, .len = len}, &token);
        take_pieces(answer, &reply, shown);
    }
    const size_t len = text_stream_finish(&stream, piece);
    push(answer, (struct text){.bytes = piece, .len = len}, NULL);
    openai_answer_end(answer);
    take_pieces(answer, &reply, shown);
    const struct openai_piece rest = {.tokens = openai_answer_take_rest(answer)};
    show(shown, &rest);
    ck_assert(openai_answer_keep(answer, &rest, &reply, &server.arena));
}

/* The parts of the whole text, by the splitter that has its own test. */
static void split_whole(const struct generation *generation, struct shown *shown)
{
    struct reasoning_split split;
    struct reasoning_piece piece;
    reasoning_split_init(&split, generation->start);
    reasoning_split_push(&split,
                         (struct text){.bytes = generation->text, .len = generation->text_len});
    reasoning_split_end(&split);
    while (reasoning_split_next(&split, &piece)) {
        if (piece.part == REASONING_ANSWER) {
            append(shown->answer, &shown->answer_len, piece.text);
        } else if (piece.part == REASONING_THOUGHT) {
            append(shown->thought, &shown->thought_len, piece.text);
        }
    }
}

static void check_case(const struct generation *generation)
{
    struct shown expected = {0}, with_tokens = {0}, without = {0};
    struct openai_answer answer;
    split_whole(generation, &expected);
    run(generation, false, &answer, &without);
    ck_assert_str_eq(without.answer, expected.answer);
    ck_assert_str_eq(without.thought, expected.thought);
    run(generation, true, &answer, &with_tokens);
    ck_assert_str_eq(with_tokens.answer, expected.answer);
    ck_assert_str_eq(with_tokens.thought, expected.thought);
    ck_assert(text_equals(reply_buffer_text(&answer.text), text_from(expected.answer)));
    ck_assert(text_equals(reply_buffer_text(&answer.thought), text_from(expected.thought)));
    ck_assert_uint_le(answer.reasoning_tokens, with_tokens.token_count);
    ck_assert(answer.thinks || answer.reasoning_tokens == 0);
    if (!generation->is_stopped) { /* Else the last token may hold a part of the stop string. */
        ck_assert_uint_eq(with_tokens.token_count, generation->token_count);
    }
    if (!generation->is_stopped && generation->start <= REASONING_START_TURN) {
        ck_assert_str_eq(with_tokens.tokens, expected.answer);
    }
    /* However it is stopped, the tokens begin as the answer does. */
    ck_assert(generation->start > REASONING_START_TURN ||
              text_starts_with(text_from(with_tokens.tokens), text_from(expected.answer)));
}

START_TEST(openai_answer_streams_what_the_whole_reply_says_when_random)
{
    struct generation generation;
    for (int index = 0; index < CASES; index++) {
        fill(&generation);
        check_case(&generation);
        arena_reset(&server.arena);
    }
}
END_TEST

START_TEST(openai_answer_counts_reasoning_tokens_when_it_thinks)
{
    static const char said[] = ">\nab</think>\nc";
    struct generation generation = {.start = REASONING_START_OPEN};
    for (const char *byte = said; *byte != '\0'; byte++) {
        generation.tokens[generation.token_count++] = (unsigned char)*byte + 1;
    }
    struct openai_answer answer;
    struct shown shown = {0};
    run(&generation, true, &answer, &shown);
    ck_assert_str_eq(shown.thought, "ab");
    ck_assert_str_eq(shown.answer, "c");
    ck_assert_str_eq(shown.tokens, "c"); /* Thoughts have no log-probabilities. */
    ck_assert_uint_eq(shown.token_count, generation.token_count);
    ck_assert_uint_eq(answer.reasoning_tokens, generation.token_count - 1);
}
END_TEST

/* Whole text by text, a token for each byte; or without tokens. */
static void run_calls(struct openai_answer *answer, bool follows_tokens, struct shown *shown)
{
    static const char said[] = " ```json\n{\"name\":\"f\",\"arguments\":{\"a\":\"b\"}}\n```"
                               "\n```json\n{\"name\":\"g\",\"arguments\":{}}\n```";
    const struct openai_reply reply = {.chat = true, .logprobs = true, .token_ids = true};
    openai_answer_init(answer, REASONING_START_TURN, TOOL_CALL_START_FENCE, follows_tokens);
    for (const char *byte = said; *byte != '\0'; byte++) {
        const struct openai_token token = {.tokenizer = server.tokenizer,
                                           .id = (unsigned char)*byte + 1};
        struct openai_piece piece;
        push(answer, (struct text){.bytes = byte, .len = 1}, &token);
        while (openai_answer_next(answer, &piece)) {
            show(shown, &piece);
            ck_assert(openai_answer_keep(answer, &piece, &reply, &server.arena));
        }
    }
    openai_answer_end(answer);
    const struct openai_piece rest = {.tokens = openai_answer_take_rest(answer)};
    show(shown, &rest);
    shown->token_count -= follows_tokens ? (uint32_t)strlen(said) : 0;
}

START_TEST(openai_answer_keeps_calls_apart_when_functions_are_offered)
{
    for (int follows_tokens = 0; follows_tokens < 2; follows_tokens++) {
        struct openai_answer answer;
        struct shown shown = {0};
        run_calls(&answer, follows_tokens != 0, &shown);
        ck_assert(openai_answer_is_calls(&answer));
        const struct openai_call *call = answer.first_call;
        ck_assert(text_equals(call->name, TEXT("f")));
        ck_assert(text_equals(reply_buffer_text(&call->arguments), TEXT("{\"a\":\"b\"}")));
        ck_assert_str_ne(call->id, call->next->id);
        ck_assert_uint_eq(strlen(call->id), OPENAI_CALL_ID_BYTES - 1);
        call = call->next;
        ck_assert(text_equals(call->name, TEXT("g")));
        ck_assert(text_equals(reply_buffer_text(&call->arguments), TEXT("{}")));
        ck_assert_uint_eq(call->index, 1);
        ck_assert_ptr_null(call->next);
        ck_assert_uint_eq(answer.text.len, 0);
        ck_assert_uint_eq(answer.reasoning_tokens, 0);
        ck_assert_str_eq(shown.tokens, "");      /* Calls have no log-probabilities, */
        ck_assert_uint_eq(shown.token_count, 0); /* but all their tokens came out. */
    }
}
END_TEST

START_TEST(openai_answer_places_tokens_by_characters)
{
    struct openai_answer answer;
    openai_answer_init(&answer, REASONING_START_TEXT, TOOL_CALL_START_NONE, true);
    answer.characters = 5; /* Of an echoed prompt. */
    const int32_t tokens[] = {TOKEN_EURO_HALF, 0xac + 1, 'a' + 1};
    const char *const texts[] = {"", "\xe2\x82\xac", "a"};
    const uint32_t offsets[] = {5, 6, 6};
    uint32_t count = 0;
    for (size_t index = 0; index < 3; index++) {
        const struct openai_token token = {.tokenizer = server.tokenizer, .id = tokens[index]};
        push(&answer, text_from(texts[index]), &token);
        struct openai_piece piece;
        while (openai_answer_next(&answer, &piece)) {
            for (const struct openai_token *each = piece.tokens; each != NULL; each = each->next) {
                ck_assert_uint_eq(each->text_offset, offsets[count++]);
            }
        }
    }
    ck_assert_uint_eq(count, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_answer");
    TCase *tests = tcase_create("openai_answer");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, openai_answer_streams_what_the_whole_reply_says_when_random);
    tcase_add_test(tests, openai_answer_counts_reasoning_tokens_when_it_thinks);
    tcase_add_test(tests, openai_answer_keeps_calls_apart_when_functions_are_offered);
    tcase_add_test(tests, openai_answer_places_tokens_by_characters);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
