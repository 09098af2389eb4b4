/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the whole path from prompt to answer on a trained model, in a full batch.
 * Shown by: prompts that training never saw (tests/data/gosling_prompts.jsonl) through tokenizer,
 * engine and CPU backend: answers per task, and token ids equal to the training code's own greedy
 * ids except where its two best logits differ by less than 1e-3. Another file may be given as
 * argument (gosling_tools.jsonl: every step of function calls); entries without "ids" are judged by
 * their answer alone. A file that is not there is reported as skipped. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/tokenizer.h"
#include "models/gosling/gosling.h"

enum { SLOTS = 64, TOKENS_MAX = 256, TASKS_MAX = 16, ANSWER_BYTES = 512 };

static const double TIE_MARGIN = 1e-3;

struct task {
    char name[32];
    uint32_t count, right;
};

struct prompt {
    const cJSON *json;
    const char *text;
    int32_t *tokens;
    struct generation_request request;
    int32_t ids[TOKENS_MAX];
    uint32_t id_count;
    char answer[ANSWER_BYTES];
    bool ended;
};

struct report {
    struct task tasks[TASKS_MAX];
    uint32_t task_count;
    uint32_t compared, ties, different;
};

static const char *string_of(const cJSON *json, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!cJSON_IsString(value)) {
        fprintf(stderr, "an entry has no string \"%s\"\n", key);
        exit(EXIT_FAILURE);
    }
    return value->valuestring;
}

static struct task *task_named(struct report *report, const char *name)
{
    for (uint32_t i = 0; i < report->task_count; i++) {
        if (strcmp(report->tasks[i].name, name) == 0) {
            return &report->tasks[i];
        }
    }
    ASSERT_COMPARE(report->task_count, <, TASKS_MAX);
    struct task *task = &report->tasks[report->task_count++];
    snprintf(task->name, sizeof task->name, "%s", name);
    return task;
}

static uint32_t read_prompts(const char *path, const struct tokenizer *tokenizer,
                             struct prompt **prompts_out)
{
    FILE *stream = fopen(path, "r");
    if (stream == NULL) {
        fprintf(stderr, "%s cannot be opened\n", path);
        exit(EXIT_FAILURE);
    }
    struct prompt *prompts = NULL;
    uint32_t count = 0;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stream) > 0) {
        prompts = realloc(prompts, (count + 1) * sizeof *prompts);
        struct prompt *prompt = &prompts[count++];
        *prompt = (struct prompt){.json = cJSON_Parse(line)};
        prompt->text = string_of(prompt->json, "prompt");
        prompt->tokens = calloc(strlen(prompt->text) + 1, sizeof *prompt->tokens);
        prompt->request = (struct generation_request){
            .id = count,
            .prompt = prompt->tokens,
            .prompt_count = (uint32_t)tokenizer_encode(tokenizer, text_from(prompt->text),
                                                       prompt->tokens, strlen(prompt->text)),
            .choice_count = 1,
            .sampling = {.max_tokens = TOKENS_MAX - 1, .logprobs_wanted = -1},
            .every_token_wanted = true,
        };
    }
    free(line);
    fclose(stream);
    *prompts_out = prompts;
    return count;
}

static void take_events(struct engine *engine, struct prompt *prompts, uint32_t *open)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    const struct generation_event *event;
    while ((event = engine_take_event(engine, buffer)) != NULL) {
        struct prompt *prompt = &prompts[event->request_id - 1];
        if (event->type == GENERATION_ENDED) {
            if (event->end == GENERATION_ENDED_BY_STOP) {
                prompt->ids[prompt->id_count++] = TOKEN_END_OF_TEXT;
            }
            prompt->ended = true;
            (*open)--;
            continue;
        }
        if (event->token_valid) {
            prompt->ids[prompt->id_count++] = event->token;
        }
        const struct text text = generation_event_text(event);
        const size_t used = strlen(prompt->answer);
        if (used + text.len < ANSWER_BYTES) {
            memcpy(prompt->answer + used, text.bytes, text.len);
        }
    }
}

static void run_all(struct engine *engine, struct prompt *prompts, uint32_t count)
{
    struct error error = {0};
    uint32_t open = 0;
    uint32_t next = 0;
    while (next < count || open > 0) {
        while (next < count && open < SLOTS) {
            if (engine_submit(engine, &prompts[next++].request, &error) != ERROR_NONE) {
                fprintf(stderr, "%s\n", error.message);
                exit(EXIT_FAILURE);
            }
            open++;
        }
        engine_turn(engine);
        take_events(engine, prompts, &open);
    }
}

/* Compares ids up to the first difference: behind it the two went separate ways. */
static void compare_ids(const struct prompt *prompt, struct report *report)
{
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(prompt->json, "ids");
    const cJSON *margins = cJSON_GetObjectItemCaseSensitive(prompt->json, "margins");
    if (ids == NULL || margins == NULL) {
        return;
    }
    report->compared++;
    uint32_t index = 0;
    const cJSON *margin = margins->child;
    const cJSON *id;
    cJSON_ArrayForEach(id, ids)
    {
        const bool same = index < prompt->id_count && prompt->ids[index] == id->valueint;
        if (!same && margin != NULL && margin->valuedouble < TIE_MARGIN) {
            report->ties++;
            return;
        }
        if (!same) {
            report->different++;
            printf("ids differ at %u: %s\n", index, prompt->text);
            return;
        }
        index++;
        margin = margin != NULL ? margin->next : NULL;
    }
}

static void judge(const struct prompt *prompt, struct report *report)
{
    struct task *task = task_named(report, string_of(prompt->json, "task"));
    const char *expected = string_of(prompt->json, "answer");
    const char *answer = prompt->answer[0] == ' ' ? prompt->answer + 1 : prompt->answer;
    task->count++;
    task->right += strcmp(answer, expected) == 0;
    compare_ids(prompt, report);
}

/* At least 99 % of each task, 97 % of arithmetic. */
static bool print_table(const struct report *report)
{
    bool good = true;
    printf("%-12s %8s %8s\n", "task", "prompts", "right");
    for (uint32_t i = 0; i < report->task_count; i++) {
        const struct task *task = &report->tasks[i];
        const double share = 100.0 * task->right / task->count;
        const double needed = strcmp(task->name, "arithmetic") == 0 ? 97.0 : 99.0;
        printf("%-12s %8u %7.1f%%%s\n", task->name, task->count, share,
               share < needed ? "  too few" : "");
        good = good && share >= needed;
    }
    printf("ids compared %u: %u equal, %u differ at a tie below %g, %u differ\n",
           report->compared, report->compared - report->ties - report->different, report->ties,
           TIE_MARGIN, report->different);
    return good && report->different == 0 && report->task_count > 0;
}

static enum error_code run(const char *path, bool *good_out, struct error *error)
{
    struct model_file *file = NULL;
    struct model_spec spec = {0};
    struct tokenizer *tokenizer = NULL;
    struct backend *backend = NULL;
    struct engine *engine = NULL;
    const struct text weights = gosling_weights();
    enum error_code code =
        model_file_open_memory(weights.bytes, weights.len, "gosling", &file, error);
    if (code == ERROR_NONE) {
        code = model_spec_read(file, &spec, error);
    }
    if (code == ERROR_NONE) {
        code = tokenizer_open_memory(gosling_vocabulary(), "gosling", &tokenizer, error);
    }
    if (code == ERROR_NONE) {
        const struct backend_options options = {
            .slot_count = SLOTS,
            .row_count_max = 512,
            .item_count_max = SLOTS,
            .thread_count = 2,
            .vocabulary = {.row_count = spec.V, .token_count = tokenizer_token_count(tokenizer)},
        };
        code = cpu_backend_open(&spec, &options, &backend, error);
    }
    if (code == ERROR_NONE) {
        const struct engine_options options = {.queue_max = SLOTS, .target_itl_ns = 50000000};
        code = engine_open(&options, backend, tokenizer, &engine, error);
    }
    if (code == ERROR_NONE) {
        struct prompt *prompts = NULL;
        struct report report = {0};
        const struct clock clock = {0};
        const uint64_t begin_ms = clock_monotonic_ms(&clock);
        const uint32_t count = read_prompts(path, tokenizer, &prompts);
        run_all(engine, prompts, count);
        printf("%u prompts in %.1f s\n", count,
               (double)(clock_monotonic_ms(&clock) - begin_ms) * 1e-3);
        for (uint32_t i = 0; i < count; i++) {
            judge(&prompts[i], &report);
            free(prompts[i].tokens);
            cJSON_Delete((cJSON *)prompts[i].json);
        }
        free(prompts);
        *good_out = print_table(&report);
    }
    engine_close(engine);
    backend_close(backend);
    tokenizer_close(tokenizer);
    model_spec_deinit(&spec);
    model_file_close(file);
    return code;
}

int main(int argc, char **argv)
{
    struct error error = {0};
    bool good = false;
    const char *path = argc > 1 ? argv[1] : SKEIN_SOURCE_FOLDER "/tests/data/gosling_prompts.jsonl";
    if (run(path, &good, &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
