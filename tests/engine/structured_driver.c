/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/structured_driver.c - bound answers of the engine on a pipe: structured.py asks.
 *
 * Usage: structured_driver STEPS_IN_FLIGHT. Commands on standard input, each a line and then as
 * many bytes as it says; answers are lines, and then as many bytes as they say:
 *
 *   schema LEN             ok | error LEN and the message
 *   answers SEED COUNT MAX for each of COUNT answers: text FINISH LEN END_LEN and the text, then an
 *                          end that completes it. FINISH: stop, length or other.
 *
 * The fake backend draws the largest of hashed pseudo-random logits, with tokens that close
 * something favoured; an unbound answer runs beside. Thread: main. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/tokenizer.h"
#include "grammar/grammar.h"
#include "tests/fakes/fake_backend.h"
#include "tests/grammar/small_vocabulary.h"

enum {
    SLOTS = 8,
    ANSWERS_MAX = 64,
    PROMPT_TOKENS = 8,
    TEXT_BYTES = 1 << 16,
    END_BYTES = 1 << 20,
    VOCABULARY_BYTES = 1 << 16,
};

struct answer {
    struct generation_request request;
    int32_t prompt[PROMPT_TOKENS];
    char text[TEXT_BYTES];
    size_t len;
    bool ended;
    enum generation_end end;
};

struct driver {
    struct tokenizer *tokenizer;
    struct backend *backend;
    struct engine *engine;
    struct grammar *grammar;
    float *favours; /* [small_vocabulary_count()] */
    struct answer answers[ANSWERS_MAX + 1];
};

/* The small vocabulary as a file of one. */
static struct tokenizer *open_vocabulary(void)
{
    static char bytes[VOCABULARY_BYTES];
    size_t len = 0;
    for (uint32_t token = 1; token < small_vocabulary_count(); token++) {
        const struct text text = small_vocabulary_text(NULL, (int32_t)token);
        len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "%u b'", (unsigned)token);
        for (size_t at = 0; at < text.len; at++) {
            len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "\\x%02x",
                                    (unsigned char)text.bytes[at]);
        }
        len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "' %zu\n", text.len);
    }
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    const enum error_code code = tokenizer_open_memory(
        (struct text){.bytes = bytes, .len = len}, "small", &tokenizer, &error);
    ASSERT(code == ERROR_NONE);
    return tokenizer;
}

static void set_favours(float *favours)
{
    favours[0] = 0.6f;
    for (uint32_t token = 1; token < small_vocabulary_count(); token++) {
        const struct text text = small_vocabulary_text(NULL, (int32_t)token);
        for (size_t at = 0; at < text.len; at++) {
            const char byte = text.bytes[at];
            favours[token] += byte == '"' || byte == '}' || byte == ']' ? 0.25f
                              : byte == '[' || byte == '{'              ? -0.3f
                                                                        : 0.0f;
        }
    }
}

static uint64_t mix(uint64_t hash)
{
    hash = (hash ^ hash >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    return (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
}

/* A function of all tokens so far: the prompt is the seed. */
static void write_logits(const void *context, const int32_t *tokens, uint32_t token_count,
                         float *logits_out)
{
    const float *favours = context;
    uint64_t history = UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t index = 0; index < token_count; index++) {
        history = mix(history + (uint64_t)tokens[index]);
    }
    for (uint32_t token = 0; token < small_vocabulary_count(); token++) {
        const uint64_t hash = mix(history ^ (uint64_t)token << 32);
        logits_out[token] = (float)(hash >> 40) / 16777216.0f + favours[token];
    }
}

static void open_driver(struct driver *driver, uint32_t steps_in_flight)
{
    struct error error = {0};
    driver->tokenizer = open_vocabulary();
    driver->favours = calloc(small_vocabulary_count(), sizeof(float));
    ASSERT(driver->favours != NULL);
    set_favours(driver->favours);
    driver->backend = fake_backend_open(&(struct fake_backend_options){
        .slot_count = SLOTS,
        .row_count_max = 32,
        .steps_in_flight_max = steps_in_flight,
        .row_vocabulary = small_vocabulary_count(),
        .logits = write_logits,
        .logits_context = driver->favours,
    });
    const struct engine_options options = {.queue_max = ANSWERS_MAX + 1,
                                           .target_itl_ns = 50000000};
    const enum error_code code =
        engine_open(&options, driver->backend, driver->tokenizer, &driver->engine, &error);
    ASSERT(code == ERROR_NONE);
}

static void compile(struct driver *driver, size_t len)
{
    char *bytes = malloc(len + 1);
    ASSERT(bytes != NULL && fread(bytes, 1, len, stdin) == len);
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = {.bytes = bytes, .len = len}};
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_EXPLICIT,
                                            .order = GRAMMAR_ORDER_ANY,
                                            .white_space_max = GRAMMAR_WHITE_SPACE_MAX};
    struct error error = {0};
    grammar_release(driver->grammar);
    if (grammar_compile(&part, &options, &driver->grammar, &error) == ERROR_NONE) {
        printf("ok\n");
    } else {
        printf("error %zu\n%s", strlen(error.message), error.message);
    }
    free(bytes);
}

static void begin(struct driver *driver, uint32_t index, uint64_t seed, uint32_t max,
                  struct grammar *grammar)
{
    struct answer *answer = &driver->answers[index];
    answer->len = 0;
    answer->ended = false;
    for (uint32_t at = 0; at < PROMPT_TOKENS; at++) {
        answer->prompt[at] = 1 + (int32_t)(seed >> (8 * at) & 0xff);
    }
    answer->request = (struct generation_request){
        .id = index + 1,
        .prompt = answer->prompt,
        .prompt_count = PROMPT_TOKENS,
        .choice_count = 1,
        .sampling = {.max_tokens = max, .logprobs_wanted = -1},
        .grammar = grammar,
    };
    struct error error = {0};
    const enum error_code code = engine_submit(driver->engine, &answer->request, &error);
    ASSERT(code == ERROR_NONE);
}

static void take_events(struct driver *driver)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    const struct generation_event *event;
    while ((event = engine_take_event(driver->engine, buffer)) != NULL) {
        struct answer *answer = &driver->answers[event->request_id - 1];
        const struct text text = generation_event_text(event);
        ASSERT_COMPARE(answer->len + text.len, <=, TEXT_BYTES);
        memcpy(answer->text + answer->len, text.bytes, text.len);
        answer->len += text.len;
        if (event->type == GENERATION_ENDED) {
            answer->ended = true;
            answer->end = event->end;
        }
    }
}

/* Follows the text once more, on its own, and finds what completes it. */
static void print_answer(const struct driver *driver, const struct answer *answer)
{
    static char end[END_BYTES];
    struct grammar_state *state = grammar_state_create(driver->grammar);
    ASSERT(state != NULL && answer->ended);
    size_t end_len = SIZE_MAX;
    if (grammar_advance(state, (struct text){.bytes = answer->text, .len = answer->len})) {
        end_len = grammar_find_end(state, end, sizeof(end));
    }
    const bool fits = end_len != SIZE_MAX;
    const char *finish = generation_end_text(answer->end);
    printf("text %s %zu %zu\n", fits ? finish : "misfit", answer->len, fits ? end_len : 0);
    fwrite(answer->text, 1, answer->len, stdout);
    fwrite(end, 1, fits ? end_len : 0, stdout);
    grammar_state_destroy(state);
}

static void run_answers(struct driver *driver, uint64_t seed, uint32_t count, uint32_t max)
{
    ASSERT_COMPARE(count, <=, ANSWERS_MAX);
    for (uint32_t index = 0; index < count; index++) {
        begin(driver, index, mix(seed + index), max, driver->grammar);
    }
    begin(driver, count, seed, max, NULL);
    while (engine_turn(driver->engine)) {
        take_events(driver);
    }
    take_events(driver);
    for (uint32_t index = 0; index < count; index++) {
        print_answer(driver, &driver->answers[index]);
    }
}

int main(int argc, char **argv)
{
    static struct driver driver;
    char line[128];
    open_driver(&driver, argc > 1 && strcmp(argv[1], "2") == 0 ? 2 : 1);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t len;
        uint64_t seed;
        uint32_t count;
        uint32_t max;
        if (sscanf(line, "schema %zu", &len) == 1) {
            compile(&driver, len);
        } else if (sscanf(line, "answers %" SCNu64 " %u %u", &seed, &count, &max) == 3) {
            run_answers(&driver, seed, count, max);
        } else {
            printf("unknown\n");
        }
        fflush(stdout);
    }
    engine_close(driver.engine);
    backend_close(driver.backend);
    grammar_release(driver.grammar);
    tokenizer_close(driver.tokenizer);
    free(driver.favours);
    return 0;
}
