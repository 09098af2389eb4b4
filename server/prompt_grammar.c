/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_grammar.c - a short try on the pool, then the background.
 *
 * A compilation asks now and then whether it is cancelled. That is how a try ends, which so is
 * bounded in work and not in time, and where a long compilation rests, finds that its client has
 * left, or that it has taken too long. Thread: as the header. */
#include "server/prompt_grammar.h"

#include <stddef.h>

#include "base/clock.h"
#include "engine/engine_stats.h"
#include "server/openai_grammar.h"
#include "server/server_internal.h"

enum { TRY_QUESTIONS = 2 }; /* About 100 us apart. Of ordinary schemas, 97 % ask no more. */

/* What a compilation is asked about. */
struct watch {
    struct prompt_job *job;
    uint32_t questions_left; /* Of a try. */
    uint64_t deadline_ns;    /* Of a long one. */
};

static struct server *server_of(const struct prompt_job *job)
{
    return job->exchange->server;
}

static bool is_abandoned(const struct prompt_job *job)
{
    return atomic_load_explicit(&job->is_abandoned, memory_order_relaxed);
}

bool prompt_grammar_is_wanted(const struct prompt_job *job)
{
    return job->params.grammar.root != NULL && job->grammar == NULL &&
           (job->endpoint & OPENAI_GENERATIONS) != 0;
}

static enum error_code compile(struct watch *watch, bool (*is_cancelled)(void *context),
                               struct error *error)
{
    struct prompt_job *job = watch->job;
    const struct openai_grammar_options options = {
        .cache = server_of(job)->grammars,
        .start = openai_params_answer_start(&job->params, job->options.model->chat_template),
        .is_cancelled = is_cancelled,
        .context = watch,
    };
    return openai_grammar_compile(&job->params.grammar, &options, &job->grammar, error);
}

static void fail(struct prompt_job *job, enum error_code code, const char *message)
{
    prompt_job_fail(job, code, job->params.grammar.param, message);
}

/* ---- On the pool ---- */

static bool is_try_over(void *context)
{
    struct watch *watch = context;
    return is_abandoned(watch->job) || watch->questions_left-- == 0;
}

void prompt_grammar_try(struct prompt_job *job)
{
    struct watch watch = {.job = job, .questions_left = TRY_QUESTIONS};
    struct error error = {0};
    const enum error_code code = compile(&watch, is_try_over, &error);
    if (code == ERROR_CANCELLED && !is_abandoned(job)) {
        job->compiles_long = true;
    } else if (code != ERROR_NONE) {
        fail(job, code, error.message);
    }
}

/* ---- In the background ---- */

static struct prompt_job *job_of(struct background_task *task)
{
    return (struct prompt_job *)(void *)((char *)task - offsetof(struct prompt_job, background));
}

static bool is_late(const struct watch *watch)
{
    return clock_monotonic_ns(&server_of(watch->job)->clock) >= watch->deadline_ns;
}

static bool is_over(const struct watch *watch)
{
    return is_abandoned(watch->job) || background_is_stopping(server_of(watch->job)->background) ||
           is_late(watch);
}

static bool rest_unless_over(void *context)
{
    const struct watch *watch = context;
    const struct server *server = server_of(watch->job);
    const struct engine_stats *stats = engine_stats(server->engine);
    if (is_over(watch)) {
        return true;
    }
    if (atomic_load_explicit(&stats->slots_used, memory_order_relaxed) > 0) {
        background_pause(server->background);
    }
    return false;
}

static void work(struct background_task *task)
{
    struct prompt_job *job = job_of(task);
    const uint64_t limit_ns = job->options.config->queue_timeout_ms * UINT64_C(1000000);
    struct watch watch = {.job = job, .deadline_ns = job->exchange->started_ns + limit_ns};
    struct error error = {0};
    const enum error_code code =
        is_over(&watch) ? ERROR_CANCELLED : compile(&watch, rest_unless_over, &error);
    if (code == ERROR_CANCELLED && is_late(&watch)) {
        fail(job, ERROR_TIMEOUT, "waited too long behind other schemas and patterns");
    } else if (code != ERROR_NONE) {
        fail(job, code, code == ERROR_CANCELLED ? NULL : error.message);
    }
}

static void on_done(struct background_task *task)
{
    struct prompt_job *job = job_of(task);
    job->compiles_long = false;
    if (background_is_stopping(server_of(job)->background)) {
        fail(job, ERROR_SHUTTING_DOWN, "the server is shutting down");
    }
    job->on_compiled(job);
}

bool prompt_grammar_defer(struct prompt_job *job, prompt_job_callback *on_compiled)
{
    job->on_compiled = on_compiled;
    job->background = (struct background_task){.work = work, .on_done = on_done};
    if (!background_submit(server_of(job)->background, &job->background)) {
        fail(job, ERROR_OVERLOADED, "too many long schemas and patterns wait to be compiled");
        return false;
    }
    return true;
}
