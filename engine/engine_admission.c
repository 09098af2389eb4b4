/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_admission.c - from the queue to the slots and back.
 *
 * Admission is exact: a request starts when all the slots it needs are free, and never before; once
 * started, nothing can take them from it. The queue is bounded and strictly first come, first
 * served. */
#include "engine/engine_internal.h"

#include <string.h>

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static enum engine_outcome outcome_of(enum generation_end end, enum error_code error)
{
    switch (end) {
    case GENERATION_ENDED_BY_STOP:
        return ENGINE_OUTCOME_STOP;
    case GENERATION_ENDED_BY_LENGTH:
        return ENGINE_OUTCOME_LENGTH;
    case GENERATION_ENDED_BY_CANCEL:
        return ENGINE_OUTCOME_CANCELLED;
    case GENERATION_ENDED_BY_ERROR:
        break;
    }
    if (error == ERROR_OVERLOADED) {
        return ENGINE_OUTCOME_OVERLOADED;
    }
    return error == ERROR_TIMEOUT ? ENGINE_OUTCOME_TIMEOUT : ENGINE_OUTCOME_ERROR;
}

static void publish_gauges(struct engine *engine)
{
    struct engine_stats *stats = &engine->stats;
    uint32_t running = 0;
    uint32_t paused = 0;
    for (uint32_t i = 0; i < engine->backend->slot_count; i++) {
        running += engine->open[i].request != NULL;
        paused += engine->open[i].request != NULL && engine->open[i].paused;
    }
    const uint32_t used = engine->backend->slot_count - state_slots_free_count(engine->slots);
    atomic_store_explicit(&stats->slots_used, used, memory_order_relaxed);
    atomic_store_explicit(&stats->requests_running, running, memory_order_relaxed);
    atomic_store_explicit(&stats->requests_paused, paused, memory_order_relaxed);
    atomic_store_explicit(&stats->requests_waiting, engine->waiting_count, memory_order_relaxed);
}

/* sequence: NULL when it never started. */
static void post_ended(struct engine *engine, const struct generation_request *request,
                       uint32_t choice, const struct sequence *sequence, enum generation_end end,
                       enum error_code error)
{
    const struct text_stream *text = sequence == NULL ? NULL : &sequence->text;
    const struct generation_event event = {
        .request_id = request->id,
        .choice = choice,
        .type = GENERATION_ENDED,
        .end = end,
        .error = error,
        .prompt_tokens = request->prompt_count,
        .completion_tokens = sequence == NULL ? 0 : sequence->token_count,
        .stop_string = text != NULL && text->stopped ? text->stop_index + 1 : 0,
    };
    count(&engine->stats.choices_ended[outcome_of(end, error)]);
    engine_post_event(engine, &event, NULL, NULL);
}

/* Ends a request that never got a slot. Its choices end as one event each. */
static void end_unstarted(struct engine *engine, const struct generation_request *request,
                          enum generation_end end, enum error_code error)
{
    for (uint32_t choice = 0; choice < request->choice_count; choice++) {
        post_ended(engine, request, choice, NULL, end, error);
    }
}

static void waiting_remove(struct engine *engine, uint32_t index)
{
    engine->waiting_count--;
    memmove(&engine->waiting[index], &engine->waiting[index + 1],
            (engine->waiting_count - index) * sizeof engine->waiting[0]);
}

void engine_admission_add(struct engine *engine, const struct generation_request *request)
{
    ASSERT_COMPARE(request->choice_count, <=, engine->backend->slot_count);
    enum error_code error = engine->failure;
    if (engine->stopping) {
        error = ERROR_SHUTTING_DOWN;
    } else if (error == ERROR_NONE && engine->waiting_count == engine->options.queue_max) {
        error = ERROR_OVERLOADED;
    }
    if (error != ERROR_NONE) {
        end_unstarted(engine, request, GENERATION_ENDED_BY_ERROR, error);
        return;
    }
    engine->waiting[engine->waiting_count++] = (struct engine_waiting){
        .request = request,
        .submitted_ns = clock_monotonic_ns(&engine->options.clock),
    };
    engine_admission_run(engine);
}

static struct open_request *free_record(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->backend->slot_count; i++) {
        if (engine->open[i].request == NULL) {
            return &engine->open[i];
        }
    }
    ASSERT(false); /* As many records as slots, and a request holds at least one slot. */
    return NULL;
}

static void start(struct engine *engine, const struct engine_waiting *entry)
{
    const struct generation_request *request = entry->request;
    const uint64_t now = clock_monotonic_ns(&engine->options.clock);
    struct open_request *open = free_record(engine);
    *open = (struct open_request){
        .request = request,
        .submitted_ns = entry->submitted_ns,
        .choices_open = request->choice_count,
        .forks_pending = request->choice_count - 1,
        .paused = entry->paused,
    };
    engine_histogram_add(&engine->stats.queue_time, now - entry->submitted_ns);
    for (uint32_t choice = 0; choice < request->choice_count; choice++) {
        const uint32_t slot = engine->acquired[choice];
        struct sampling sampling = request->sampling;
        sampling.choice = choice;
        /* The grammar decides where a text may end. */
        sampling.ignore_eos = sampling.ignore_eos && request->grammar == NULL;
        backend_slot_start(engine->backend, slot, &sampling, engine->options.initial_state);
        sequence_start(&engine->sequences[slot], open, choice, engine->acquired[0],
                       engine->admission_count);
        engine->ordered[engine->ordered_count++] = slot;
    }
    engine->admission_count++;
}

static void refuse_acquired(struct engine *engine, const struct generation_request *request)
{
    for (uint32_t choice = 0; choice < request->choice_count; choice++) {
        state_slots_release(engine->slots, engine->acquired[choice]);
    }
    end_unstarted(engine, request, GENERATION_ENDED_BY_ERROR, ERROR_OVERLOADED);
}

void engine_admission_run(struct engine *engine)
{
    while (engine->waiting_count > 0) {
        const struct engine_waiting oldest = engine->waiting[0];
        if (!state_slots_acquire(engine->slots, oldest.request->choice_count,
                                 engine->acquired)) {
            break;
        }
        waiting_remove(engine, 0);
        if (!engine_grammar_admit(engine, oldest.request)) {
            refuse_acquired(engine, oldest.request);
            continue;
        }
        start(engine, &oldest);
    }
    publish_gauges(engine);
}

void engine_admission_expire(struct engine *engine)
{
    const uint64_t now = clock_monotonic_ns(&engine->options.clock);
    for (uint32_t i = 0; i < engine->waiting_count;) {
        const struct engine_waiting entry = engine->waiting[i];
        const uint64_t timeout = entry.request->queue_timeout_ns;
        if (timeout == 0 || now - entry.submitted_ns < timeout) {
            i++;
            continue;
        }
        waiting_remove(engine, i);
        end_unstarted(engine, entry.request, GENERATION_ENDED_BY_ERROR, ERROR_TIMEOUT);
    }
}

uint64_t engine_admission_next_expiry_ns(const struct engine *engine)
{
    const uint64_t now = clock_monotonic_ns(&engine->options.clock);
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < engine->waiting_count; i++) {
        const struct engine_waiting *entry = &engine->waiting[i];
        if (entry->request->queue_timeout_ns == 0) {
            continue;
        }
        const uint64_t expiry = entry->submitted_ns + entry->request->queue_timeout_ns;
        const uint64_t left = expiry > now ? expiry - now : 0;
        next = left < next ? left : next;
    }
    return next;
}

static void ordered_remove(struct engine *engine, uint32_t slot)
{
    uint32_t index = 0;
    while (engine->ordered[index] != slot) {
        index++;
        ASSERT_COMPARE(index, <, engine->ordered_count);
    }
    engine->ordered_count--;
    memmove(&engine->ordered[index], &engine->ordered[index + 1],
            (engine->ordered_count - index) * sizeof engine->ordered[0]);
}

void engine_end_sequence(struct engine *engine, uint32_t slot, enum generation_end end,
                         enum error_code error)
{
    struct sequence *sequence = &engine->sequences[slot];
    struct open_request *open = sequence->open;
    post_ended(engine, open->request, sequence->choice, sequence, end, error);
    sequence_end(sequence);
    ordered_remove(engine, slot);
    state_slots_release(engine->slots, slot);
    open->choices_open--;
    if (open->choices_open == 0) {
        const uint64_t now = clock_monotonic_ns(&engine->options.clock);
        engine_histogram_add(&engine->stats.request_time, now - open->submitted_ns);
        *open = (struct open_request){0};
    }
}

/* Ends every sequence that runs for `request`; NULL: for any. */
static void end_running(struct engine *engine, const struct generation_request *request,
                        enum generation_end end, enum error_code error)
{
    for (uint32_t i = engine->ordered_count; i-- > 0;) {
        const uint32_t slot = engine->ordered[i];
        if (request == NULL || engine->sequences[slot].open->request == request) {
            engine_end_sequence(engine, slot, end, error);
        }
    }
}

static const struct generation_request *find_running(const struct engine *engine, uint64_t id,
                                                     struct open_request **open_out)
{
    for (uint32_t i = 0; i < engine->backend->slot_count; i++) {
        if (engine->open[i].request != NULL && engine->open[i].request->id == id) {
            *open_out = &engine->open[i];
            return engine->open[i].request;
        }
    }
    return NULL;
}

void engine_end_request(struct engine *engine, uint64_t request_id, enum generation_end end,
                        enum error_code error)
{
    struct open_request *open = NULL;
    const struct generation_request *request = find_running(engine, request_id, &open);
    if (request != NULL) {
        end_running(engine, request, end, error);
        return;
    }
    for (uint32_t i = 0; i < engine->waiting_count; i++) {
        if (engine->waiting[i].request->id == request_id) {
            request = engine->waiting[i].request;
            waiting_remove(engine, i);
            end_unstarted(engine, request, end, error);
            return;
        }
    }
}

void engine_end_all(struct engine *engine, enum error_code error)
{
    end_running(engine, NULL, GENERATION_ENDED_BY_ERROR, error);
    while (engine->waiting_count > 0) {
        const struct generation_request *request = engine->waiting[0].request;
        waiting_remove(engine, 0);
        end_unstarted(engine, request, GENERATION_ENDED_BY_ERROR, error);
    }
    publish_gauges(engine);
}

void engine_set_paused(struct engine *engine, uint64_t request_id, bool paused)
{
    struct open_request *open = NULL;
    if (find_running(engine, request_id, &open) != NULL) {
        open->paused = paused;
        return;
    }
    for (uint32_t i = 0; i < engine->waiting_count; i++) {
        if (engine->waiting[i].request->id == request_id) {
            engine->waiting[i].paused = paused;
        }
    }
}
