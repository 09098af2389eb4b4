/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine.c - the boundary: two mailboxes, one thread, commands.
 *
 * The engine finishes a step, then reads its commands: a cancellation takes effect between steps,
 * and requests that arrived meanwhile join the next step together. */
#include "engine/engine.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "engine/engine_internal.h"

enum engine_command_type {
    ENGINE_SUBMIT,
    ENGINE_CANCEL,
    ENGINE_PAUSE,
    ENGINE_RESUME,
    ENGINE_SHUTDOWN,
};

struct engine_command {
    enum engine_command_type type;
    uint64_t request_id;
    const struct generation_request *request; /* SUBMIT. */
};

enum {
    MESSAGE_OVERHEAD_BYTES = 16,
    ENDED_BYTES = sizeof(struct generation_event) + MESSAGE_OVERHEAD_BYTES,
    SCORE_BYTES = ENDED_BYTES + LIMIT_TOP_LOGPROBS * sizeof(struct sampled_alternative),
    HEARTBEAT_NS = 1000 * 1000 * 1000, /* Turns at least this often while requests are open. */
    FULL_MAILBOX_WAIT_NS = 1000 * 1000,
};

/* The most bytes of events of a request that ends before it began: all its choices end. */
static size_t refusal_bytes(const struct engine *engine)
{
    const uint32_t slot_count = engine->backend->slot_count;
    return (slot_count < LIMIT_CHOICES ? slot_count : LIMIT_CHOICES) * (size_t)ENDED_BYTES;
}

/* The most bytes of events that one turn can post besides its commands' refusals: every slot
 * releases its largest text and ends, every row scores a token, everything in the queue ends. */
static size_t turn_event_bytes(const struct engine *engine)
{
    const size_t slot_bytes = GENERATION_EVENT_BYTES_MAX + MESSAGE_OVERHEAD_BYTES + ENDED_BYTES;
    const size_t scores = engine->backend->row_count_max * SCORE_BYTES;
    return engine->backend->slot_count * slot_bytes + scores +
           engine->options.queue_max * refusal_bytes(engine);
}

static enum error_code allocate(struct engine *engine, struct error *error)
{
    const uint32_t slot_count = engine->backend->slot_count;
    engine->slots = state_slots_create(slot_count);
    engine->sequences = calloc(slot_count, sizeof *engine->sequences);
    engine->open = calloc(slot_count, sizeof *engine->open);
    engine->acquired = calloc(slot_count, sizeof *engine->acquired);
    engine->ordered = calloc(slot_count, sizeof *engine->ordered);
    engine->waiting = calloc(engine->options.queue_max, sizeof *engine->waiting);
    engine->candidates = calloc(slot_count, sizeof *engine->candidates);
    engine->shares = calloc(slot_count, sizeof *engine->shares);
    engine->items = calloc(slot_count, sizeof *engine->items);
    engine->results = calloc(slot_count, sizeof *engine->results);
    bool complete = engine->slots && engine->sequences && engine->open && engine->acquired &&
                    engine->ordered && engine->waiting && engine->candidates &&
                    engine->shares && engine->items && engine->results;
    for (uint32_t i = 0; i < ENGINE_STEPS_IN_FLIGHT_MAX; i++) {
        engine->steps[i].rows = calloc(slot_count, sizeof *engine->steps[i].rows);
        complete = complete && engine->steps[i].rows;
    }
    if (!complete) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "engine: no memory for %u slots", slot_count);
    }
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        engine->sequences[slot].slot = slot;
    }
    return ERROR_NONE;
}

/* Room for every open request to be submitted, cancelled, paused and resumed within one step. */
static size_t command_bytes(const struct engine *engine)
{
    const size_t requests =
        (size_t)engine->options.queue_max + engine->backend->slot_count + LIMIT_CONNECTIONS;
    return requests * 4 * (sizeof(struct engine_command) + MESSAGE_OVERHEAD_BYTES);
}

enum error_code engine_open(const struct engine_options *options, struct backend *backend,
                            const struct tokenizer *tokenizer, struct engine **engine_out,
                            struct error *error)
{
    ASSERT(options->queue_max > 0);
    ASSERT_COMPARE(backend->item_count_max, >=, backend->slot_count);
    ASSERT_COMPARE(backend->steps_in_flight_max, <=, ENGINE_STEPS_IN_FLIGHT_MAX);
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "engine: no memory");
    }
    engine->backend = backend;
    engine->tokenizer = tokenizer;
    engine->options = *options;
    engine->turn_event_bytes = turn_event_bytes(engine);
    atomic_store(&engine->stats.slots_total, backend->slot_count);
    enum error_code code = allocate(engine, error);
    if (code == ERROR_NONE) {
        code = engine_grammar_open(engine, error);
    }
    if (code == ERROR_NONE) {
        code = mailbox_create(command_bytes(engine), NULL, NULL, &engine->commands, error);
    }
    if (code == ERROR_NONE) {
        code = mailbox_create(2 * engine->turn_event_bytes, options->wake, options->wake_context,
                              &engine->events, error);
    }
    if (code != ERROR_NONE) {
        engine_close(engine);
        return code;
    }
    *engine_out = engine;
    return ERROR_NONE;
}

static void take_command(struct engine *engine, const struct engine_command *command)
{
    switch (command->type) {
    case ENGINE_SUBMIT:
        engine_admission_add(engine, command->request);
        break;
    case ENGINE_CANCEL:
        engine_end_request(engine, command->request_id, GENERATION_ENDED_BY_CANCEL, ERROR_NONE);
        break;
    case ENGINE_PAUSE:
    case ENGINE_RESUME:
        engine_set_paused(engine, command->request_id, command->type == ENGINE_PAUSE);
        break;
    case ENGINE_SHUTDOWN:
        engine->stopping = true;
        engine_end_all(engine, ERROR_SHUTTING_DOWN);
        break;
    }
}

/* Takes all commands, as far as there is room for what they may end. */
static bool take_commands(struct engine *engine)
{
    const size_t needed = engine->turn_event_bytes + refusal_bytes(engine);
    struct engine_command command;
    bool taken = false;
    while (mailbox_space(engine->events) >= needed &&
           mailbox_take(engine->commands, &command, sizeof command) > 0) {
        take_command(engine, &command);
        taken = true;
    }
    return taken;
}

bool engine_turn(struct engine *engine)
{
    if (mailbox_space(engine->events) < engine->turn_event_bytes) {
        /* The loop is behind. It never waits for a client, so this passes. */
        nanosleep(&(struct timespec){.tv_nsec = FULL_MAILBOX_WAIT_NS}, NULL);
        return true;
    }
    const bool commanded = take_commands(engine);
    engine_admission_expire(engine);
    engine_admission_run(engine);
    const bool stepped = !engine->stopping && engine_step_run(engine);
    struct backend_counters counters;
    backend_counters(engine->backend, &counters);
    atomic_store_explicit(&engine->stats.state_copied_bytes, counters.state_copied_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&engine->stats.progress_ns,
                          clock_monotonic_ns(&engine->options.clock), memory_order_relaxed);
    return commanded || stepped;
}

static void *run_thread(void *context)
{
    struct engine *engine = context;
    while (!engine->stopping) {
        if (engine_turn(engine)) {
            continue;
        }
        const bool idle = engine->ordered_count == 0 && engine->waiting_count == 0;
        const uint64_t expiry = engine_admission_next_expiry_ns(engine);
        const uint64_t heartbeat = idle ? UINT64_MAX : HEARTBEAT_NS;
        mailbox_wait(engine->commands, expiry < heartbeat ? expiry : heartbeat);
    }
    return NULL;
}

enum error_code engine_start(struct engine *engine, struct error *error)
{
    ASSERT(!engine->thread_started);
    if (pthread_create(&engine->thread, NULL, run_thread, engine) != 0) {
        return error_set(error, ERROR_IO, "engine: cannot start a thread");
    }
    pthread_setname_np(engine->thread, "skein-engine");
    engine->thread_started = true;
    return ERROR_NONE;
}

/* Commands other than SUBMIT must arrive: command_bytes leaves room for them, and the engine
 * empties its mailbox every turn. */
static void post_surely(struct engine *engine, const struct engine_command *command)
{
    while (!mailbox_post(engine->commands, command, sizeof *command)) {
        nanosleep(&(struct timespec){.tv_nsec = FULL_MAILBOX_WAIT_NS}, NULL);
    }
}

void engine_close(struct engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->thread_started) {
        post_surely(engine, &(struct engine_command){.type = ENGINE_SHUTDOWN});
        pthread_join(engine->thread, NULL);
    }
    mailbox_destroy(engine->commands);
    mailbox_destroy(engine->events);
    state_slots_destroy(engine->slots);
    engine_grammar_close(engine);
    free(engine->sequences);
    free(engine->open);
    free(engine->acquired);
    free(engine->ordered);
    free(engine->waiting);
    free(engine->candidates);
    free(engine->shares);
    free(engine->items);
    free(engine->results);
    for (uint32_t i = 0; i < ENGINE_STEPS_IN_FLIGHT_MAX; i++) {
        free(engine->steps[i].rows);
    }
    free(engine);
}

enum error_code engine_submit(struct engine *engine, const struct generation_request *request,
                              struct error *error)
{
    ASSERT(request->prompt_count > 0 && request->choice_count > 0);
    const struct engine_command command = {.type = ENGINE_SUBMIT, .request = request};
    /* The second half of the mailbox is for the commands that must arrive. */
    if (mailbox_space(engine->commands) < command_bytes(engine) / 2 ||
        !mailbox_post(engine->commands, &command, sizeof command)) {
        return error_set(error, ERROR_OVERLOADED, "the engine has too many commands to read");
    }
    return ERROR_NONE;
}

void engine_cancel(struct engine *engine, uint64_t request_id)
{
    post_surely(engine, &(struct engine_command){.type = ENGINE_CANCEL, .request_id = request_id});
}

void engine_pause(struct engine *engine, uint64_t request_id)
{
    post_surely(engine, &(struct engine_command){.type = ENGINE_PAUSE, .request_id = request_id});
}

void engine_resume(struct engine *engine, uint64_t request_id)
{
    post_surely(engine, &(struct engine_command){.type = ENGINE_RESUME, .request_id = request_id});
}

const struct generation_event *engine_take_event(struct engine *engine, void *buffer)
{
    if (mailbox_take(engine->events, buffer, GENERATION_EVENT_BYTES_MAX) == 0) {
        return NULL;
    }
    return buffer;
}

const struct engine_stats *engine_stats(const struct engine *engine)
{
    return &engine->stats;
}
