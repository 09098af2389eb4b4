/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/engine_bench.c - an engine on the fake backend, turn by turn, and what comes out.
 *
 * Thread: main. */
#include "engine_bench.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_stats.h"

struct engine_bench *engine_bench_open(uint32_t slot_count, uint32_t row_max, uint32_t in_flight,
                                       uint32_t queue_max)
{
    struct engine_bench *bench = calloc(1, sizeof *bench);
    bench->backend = fake_backend_open(&(struct fake_backend_options){
        .slot_count = slot_count, .row_count_max = row_max, .steps_in_flight_max = in_flight});
    ck_assert_int_eq(tokenizer_open_memory(fake_vocabulary(), "fake", &bench->tokenizer,
                                           &bench->error), ERROR_NONE);
    const struct engine_options options = {
        .queue_max = queue_max,
        .target_itl_ns = 50000000,
        .clock = fake_clock_view(&bench->time),
    };
    ck_assert_int_eq(engine_open(&options, bench->backend, bench->tokenizer, &bench->engine,
                                 &bench->error), ERROR_NONE);
    return bench;
}

void engine_bench_close(struct engine_bench *bench)
{
    engine_close(bench->engine);
    tokenizer_close(bench->tokenizer);
    backend_close(bench->backend);
    free(bench);
}

struct generation_request *engine_bench_prepare(struct engine_bench *bench, uint32_t index,
                                                const char *prompt)
{
    struct generation_request *request = &bench->requests[index];
    *request = (struct generation_request){
        .id = index + 1,
        .prompt = bench->prompts[index],
        .choice_count = 1,
        .sampling = {.max_tokens = 1000, .logprobs_wanted = -1},
    };
    request->prompt_count = (uint32_t)tokenizer_encode(
        bench->tokenizer, text_from(prompt), bench->prompts[index], FAKE_TOKENS_MAX);
    return request;
}

void engine_bench_submit(struct engine_bench *bench, uint32_t index)
{
    ck_assert_int_eq(engine_submit(bench->engine, &bench->requests[index], &bench->error),
                     ERROR_NONE);
}

void engine_bench_take_events(struct engine_bench *bench)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    const struct generation_event *event;
    while ((event = engine_take_event(bench->engine, buffer)) != NULL) {
        const uint32_t index = (uint32_t)event->request_id - 1;
        ck_assert_uint_lt(index, ENGINE_BENCH_REQUESTS);
        ck_assert_uint_lt(event->choice, ENGINE_BENCH_CHOICES);
        if (event->type == GENERATION_ENDED) {
            bench->ends[index][event->choice] = *event;
            bench->ended_count[index]++;
            continue;
        }
        if (event->type == GENERATION_PROMPT) {
            bench->score_count++;
            ck_assert_uint_eq(event->position, bench->score_count);
            ck_assert_int_eq(event->token, bench->requests[index].prompt[event->position]);
            bench->scores[event->position] = event->logprob;
            continue;
        }
        const struct text text = generation_event_text(event);
        strncat(bench->answers[index][event->choice], text.bytes, text.len);
    }
}

void engine_bench_run(struct engine_bench *bench)
{
    for (uint32_t turn = 0; engine_turn(bench->engine); turn++) {
        ck_assert_uint_lt(turn, 100000);
        bench->time.now_ns += 1000000;
        engine_bench_take_events(bench);
    }
    engine_bench_take_events(bench);
}

void engine_bench_assert_all_free(const struct engine_bench *bench)
{
    const struct engine_stats *stats = engine_stats(bench->engine);
    ck_assert_uint_eq(atomic_load(&stats->slots_used), 0);
    ck_assert_uint_eq(atomic_load(&stats->requests_running), 0);
    ck_assert_uint_eq(atomic_load(&stats->requests_waiting), 0);
}
