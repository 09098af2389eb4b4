/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_step.c - one step: plan, submit, collect, and the events that come of it.
 *
 * With a device that allows two steps in flight, the next step is submitted before the results of
 * the last are looked at: its decode rows take the token that the device drew itself. */
#include "engine/engine_internal.h"

#include <string.h>

#include "base/log.h"

/* How long a step may take when no stream waits for its next token: a cancellation, a newcomer and
 * the liveness probe wait that long. */
static const uint64_t ALONE_STEP_NS = 1000 * 1000 * 1000;

static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

void engine_post_event(struct engine *engine, const struct generation_event *event,
                       const struct sampled_alternative *top, const char *text)
{
    char tail[GENERATION_EVENT_BYTES_MAX];
    const size_t top_bytes = event->top_count * sizeof *top;
    if (top_bytes > 0) {
        memcpy(tail, top, top_bytes);
    }
    if (event->text_len > 0) {
        memcpy(tail + top_bytes, text, event->text_len);
    }
    const bool posted = mailbox_post_pair(engine->events, event, sizeof *event, tail,
                                          top_bytes + event->text_len);
    ASSERT(posted); /* engine_turn checks the room for a whole turn. */
}

static uint32_t gather_candidates(struct engine *engine)
{
    uint32_t candidate_count = 0;
    for (uint32_t i = 0; i < engine->ordered_count; i++) {
        const struct sequence *sequence = &engine->sequences[engine->ordered[i]];
        if (sequence_candidate(sequence, &engine->sequences[sequence->leader_slot],
                               &engine->candidates[candidate_count])) {
            candidate_count++;
        }
    }
    return candidate_count;
}

static uint32_t plan(struct engine *engine)
{
    const uint32_t candidate_count = gather_candidates(engine);
    if (candidate_count == 0) {
        return 0;
    }
    const uint32_t row_max = engine->backend->row_count_max;
    const struct scheduler_limits limits = {
        .row_max = row_max,
        .prefill_budget =
            scheduler_prefill_budget(&engine->pace, engine->options.target_itl_ns, row_max),
        .prefill_alone_budget = scheduler_prefill_budget(&engine->pace, ALONE_STEP_NS, row_max),
        .turn = engine->turn++,
    };
    return scheduler_plan(engine->candidates, candidate_count, &limits, engine->shares);
}

static enum error_code submit(struct engine *engine, uint32_t share_count, struct error *error)
{
    struct engine_step *step = &engine->steps[engine->step_count];
    step->row_count = share_count;
    step->decode_rows = 0;
    step->prefill_rows = 0;
    step->submitted_ns = clock_monotonic_ns(&engine->options.clock);
    for (uint32_t i = 0; i < share_count; i++) {
        const struct scheduler_share *share = &engine->shares[i];
        struct sequence *sequence = &engine->sequences[share->slot];
        const uint32_t position = sequence->prompt_run + 1;
        sequence_advance(sequence, share->token_count, &engine->items[i]);
        step->rows[i] = (struct engine_row){
            .slot = share->slot,
            .epoch = sequence->epoch,
            .position = position,
            .reads_to_end = sequence->phase == SEQUENCE_DECODE && sequence->sampled_run == 0,
        };
        if (engine->items[i].tokens == NULL) {
            step->decode_rows++;
        } else {
            step->prefill_rows += share->token_count;
        }
    }
    engine->step_count++;
    add(&engine->stats.prompt_tokens, step->prefill_rows);
    add(&engine->stats.step_rows, step->prefill_rows + step->decode_rows);
    return backend_submit(engine->backend, engine->items, share_count, error);
}

static void observe_token(struct engine *engine, struct sequence *sequence, uint64_t now)
{
    struct engine_stats *stats = &engine->stats;
    add(&stats->generated_tokens, 1);
    if (!sequence->open->first_token_seen) {
        sequence->open->first_token_seen = true;
        engine_histogram_add(&stats->time_to_first_token, now - sequence->open->submitted_ns);
    }
    if (sequence->last_token_ns != 0) {
        engine_histogram_add(&stats->inter_token, now - sequence->last_token_ns);
    }
    sequence->last_token_ns = now;
}

static void post_scores(struct engine *engine, const struct sequence *sequence,
                        const struct engine_row *row, const struct backend_result *result)
{
    for (uint32_t i = 0; i < result->score_count; i++) {
        const struct sampled *score = &result->scores[i];
        const struct generation_event event = {
            .request_id = sequence->open->request->id,
            .choice = sequence->choice,
            .type = GENERATION_PROMPT,
            .position = row->position + i,
            .token_valid = true,
            .token = score->token,
            .logprob = score->logprob,
            .top_count = score->top_count,
        };
        engine_post_event(engine, &event, score->top, NULL);
    }
}

static void take_sampled(struct engine *engine, const struct engine_row *row,
                         const struct sampled *sampled, uint64_t now)
{
    struct sequence *sequence = &engine->sequences[row->slot];
    const struct generation_request *request = sequence->open->request;
    char piece[TEXT_STREAM_PIECE_BYTES];
    observe_token(engine, sequence, now);
    if (!engine_grammar_follow(engine, sequence, sampled)) {
        engine_end_sequence(engine, row->slot, GENERATION_ENDED_BY_ERROR, ERROR_CORRUPT);
        return;
    }
    const struct sequence_outcome outcome =
        sequence_take(sequence, sampled, engine->tokenizer, piece);
    const bool token_valid = sampled->end != SAMPLED_STOP_TOKEN;
    if (outcome.text_len > 0 || (request->every_token_wanted && token_valid)) {
        const struct generation_event event = {
            .request_id = request->id,
            .choice = sequence->choice,
            .type = GENERATION_TEXT,
            .token_valid = token_valid,
            .token = sampled->token,
            .logprob = sampled->logprob,
            .top_count = token_valid ? sampled->top_count : 0,
            .text_len = (uint32_t)outcome.text_len,
        };
        engine_post_event(engine, &event, sampled->top, piece);
    }
    if (outcome.ended) {
        engine_end_sequence(engine, row->slot, outcome.end, ERROR_NONE);
    }
}

static void take_result(struct engine *engine, const struct engine_row *row,
                        const struct backend_result *result, uint64_t now)
{
    const struct sequence *sequence = &engine->sequences[row->slot];
    if (sequence->epoch != row->epoch || sequence->phase == SEQUENCE_FREE) {
        return; /* The sequence ended while the step was under way. */
    }
    post_scores(engine, sequence, row, result);
    if (result->sampled_valid) {
        take_sampled(engine, row, &result->sampled, now);
    } else if (row->reads_to_end) {
        engine_end_sequence(engine, row->slot, GENERATION_ENDED_BY_LENGTH, ERROR_NONE);
    }
}

/* Time that the oldest step took: from its submission, or from the end of the one before when
 * they overlapped. */
static void learn_pace(struct engine *engine, const struct engine_step *step, uint64_t now)
{
    const uint64_t begin = step->submitted_ns > engine->collected_ns ? step->submitted_ns
                                                                     : engine->collected_ns;
    add(&engine->stats.steps, 1);
    add(&engine->stats.step_ns, now - begin);
    engine->collected_ns = now;
    scheduler_pace_learn(&engine->pace, step->decode_rows, step->prefill_rows, now - begin);
}

static enum error_code collect(struct engine *engine, struct error *error)
{
    uint32_t result_count = 0;
    const enum error_code code =
        backend_collect(engine->backend, engine->results, &result_count, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint64_t now = clock_monotonic_ns(&engine->options.clock);
    const struct engine_step step = engine->steps[0];
    ASSERT_COMPARE(result_count, ==, step.row_count);
    learn_pace(engine, &step, now);
    for (uint32_t i = 0; i < result_count; i++) {
        take_result(engine, &step.rows[i], &engine->results[i], now);
    }
    /* The records change places so that each keeps its array of rows. */
    engine->steps[0] = engine->steps[1];
    engine->steps[1] = step;
    engine->step_count--;
    engine_admission_run(engine);
    return ERROR_NONE;
}

static void fail(struct engine *engine, const struct error *error)
{
    log_event(LOG_ERROR, "engine", "device failed", LOG_S("error", error->message));
    engine->failure = ERROR_DEVICE;
    engine->step_count = 0;
    atomic_store_explicit(&engine->stats.device_failed, true, memory_order_relaxed);
    engine_end_all(engine, ERROR_DEVICE);
}

bool engine_step_run(struct engine *engine)
{
    if (engine->failure != ERROR_NONE) {
        return false;
    }
    struct error error = {0};
    const bool masks_wait = engine_grammar_prepare(engine);
    const uint32_t share_count = plan(engine);
    if (share_count > 0 && submit(engine, share_count, &error) != ERROR_NONE) {
        fail(engine, &error);
        return true;
    }
    const bool must_collect =
        engine->step_count == engine->backend->steps_in_flight_max ||
        (share_count == 0 && engine->step_count > 0);
    if (must_collect && collect(engine, &error) != ERROR_NONE) {
        fail(engine, &error);
    }
    return share_count > 0 || must_collect || masks_wait;
}
