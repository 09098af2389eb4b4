/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/gosling/score_texts.c - log-probabilities of texts by Gosling, without a server.
 *
 * Reads one JSON string a line, writes one line for each: {"tokens":[..],"logprobs":[null,..]}. The
 * end-to-end tests compare what the server says with it. Each text goes alone through the engine.
 * Thread: main. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/arena.h"
#include "base/json_writer.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "engine/model_spec.h"
#include "engine/tokenizer.h"
#include "models/gosling/gosling.h"

enum { LINE_BYTES = 64 * 1024 };

struct scorer {
    struct model_file *file;
    struct model_spec spec;
    struct tokenizer *tokenizer;
    struct backend *backend;
    struct engine *engine;
};

static enum error_code open_model(struct scorer *scorer, struct error *error)
{
    const struct text weights = gosling_weights();
    enum error_code code =
        model_file_open_memory(weights.bytes, weights.len, "gosling", &scorer->file, error);
    if (code == ERROR_NONE) {
        code = model_spec_read(scorer->file, &scorer->spec, error);
    }
    if (code == ERROR_NONE) {
        code = tokenizer_open_memory(gosling_vocabulary(), "gosling", &scorer->tokenizer, error);
    }
    return code;
}

static enum error_code open_engine(struct scorer *scorer, struct error *error)
{
    const struct backend_options backend_options = {
        .slot_count = 1,
        .row_count_max = 64,
        .item_count_max = 1,
        .thread_count = 1,
        .vocabulary = {.row_count = scorer->spec.V,
                       .token_count = tokenizer_token_count(scorer->tokenizer)},
    };
    const struct engine_options options = {.queue_max = 1, .target_itl_ns = 50000000};
    const enum error_code code =
        cpu_backend_open(&scorer->spec, &backend_options, &scorer->backend, error);
    return code != ERROR_NONE
               ? code
               : engine_open(&options, scorer->backend, scorer->tokenizer, &scorer->engine, error);
}

static void close_all(struct scorer *scorer)
{
    engine_close(scorer->engine);
    backend_close(scorer->backend);
    tokenizer_close(scorer->tokenizer);
    model_spec_deinit(&scorer->spec);
    model_file_close(scorer->file);
}

/* Runs the one request to its end and fills logprobs[1..]. */
static void run(struct scorer *scorer, const struct generation_request *request, float *logprobs)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    struct error error = {0};
    bool ended = engine_submit(scorer->engine, request, &error) != ERROR_NONE;
    while (!ended) {
        engine_turn(scorer->engine);
        const struct generation_event *event;
        while ((event = engine_take_event(scorer->engine, buffer)) != NULL) {
            if (event->type == GENERATION_PROMPT) {
                logprobs[event->position] = event->logprob;
            }
            ended = ended || event->type == GENERATION_ENDED;
        }
    }
}

static void print_line(const int32_t *tokens, const float *logprobs, size_t count)
{
    static char line[32 * LINE_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, line, sizeof(line));
    json_object_begin(&writer);
    json_key(&writer, "tokens");
    json_array_begin(&writer);
    for (size_t index = 0; index < count; index++) {
        json_integer(&writer, tokens[index]);
    }
    json_array_end(&writer);
    json_key(&writer, "logprobs");
    json_array_begin(&writer);
    json_null(&writer);
    for (size_t index = 1; index < count; index++) {
        json_real(&writer, (double)logprobs[index]);
    }
    json_array_end(&writer);
    json_object_end(&writer);
    if (json_writer_fits(&writer)) {
        printf("%.*s\n", (int)writer.len, line);
    }
}

static void score(struct scorer *scorer, struct text text, uint64_t id)
{
    static int32_t tokens[LINE_BYTES];
    static float logprobs[LINE_BYTES];
    const size_t count = tokenizer_encode(scorer->tokenizer, text, tokens, LINE_BYTES);
    const struct generation_request request = {
        .id = id,
        .prompt = tokens,
        .prompt_count = (uint32_t)count,
        .choice_count = 1,
        .sampling = {.logprobs_wanted = 0},
        .prompt_scored = true,
    };
    run(scorer, &request, logprobs);
    print_line(tokens, logprobs, count);
}

static void score_lines(struct scorer *scorer)
{
    static char line[LINE_BYTES];
    uint64_t id = 0;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        cJSON *json = cJSON_Parse(line);
        if (cJSON_IsString(json) && json->valuestring[0] != '\0') {
            score(scorer, text_from(json->valuestring), ++id);
        }
        cJSON_Delete(json);
    }
}

int main(void)
{
    struct scorer scorer = {0};
    struct error error = {0};
    enum error_code code = open_model(&scorer, &error);
    if (code == ERROR_NONE) {
        code = open_engine(&scorer, &error);
    }
    if (code == ERROR_NONE) {
        score_lines(&scorer);
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    close_all(&scorer);
    return code == ERROR_NONE ? EXIT_SUCCESS : EXIT_FAILURE;
}
