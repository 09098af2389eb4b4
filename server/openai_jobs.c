/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_jobs.c - the open generations: starts them, hands them the engine's events.
 *
 * A job's memory is its exchange's; the table only finds it by the id that events carry. Ids are
 * never used twice, so an event of a job that is gone finds nothing. Thread: loop. */
#include "server/openai_jobs.h"

#include <stdalign.h>
#include <stdlib.h>

#include "base/limits.h"
#include "server/openai_job.h"
#include "server/server_internal.h"
#include "server/sse_stream.h"

enum {
    BUCKET_COUNT = 4096,         /* Ids count up, so as many open jobs fill one bucket each. */
    FIRST_EVENT_GRACE_MS = 5000, /* After --queue-timeout: the engine should have said so itself. */
};

struct openai_jobs {
    struct server *server;
    uint64_t last_id;
    uint32_t open_count;
    struct openai_part *buckets[BUCKET_COUNT]; /* What the engine works on, by id. */
    char chunk[OPENAI_CHUNK_BYTES];
    alignas(8) unsigned char event[GENERATION_EVENT_BYTES_MAX];
};

enum error_code openai_jobs_create(struct server *server, struct openai_jobs **jobs_out,
                                   struct error *error)
{
    struct openai_jobs *jobs = calloc(1, sizeof(*jobs));
    if (jobs == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the table of generations");
    }
    jobs->server = server;
    *jobs_out = jobs;
    return ERROR_NONE;
}

void openai_jobs_destroy(struct openai_jobs *jobs)
{
    free(jobs);
}

uint32_t openai_jobs_count(const struct openai_jobs *jobs)
{
    return jobs->open_count;
}

/* ---- The table ---- */

static struct openai_part **bucket_of(struct openai_jobs *jobs, uint64_t id)
{
    return &jobs->buckets[id % BUCKET_COUNT];
}

/* Points to the link that holds the part of that id, or to the NULL at the end. */
static struct openai_part **link_of(struct openai_jobs *jobs, uint64_t id)
{
    struct openai_part **link = bucket_of(jobs, id);
    while (*link != NULL && (*link)->request.id != id) {
        link = &(*link)->next;
    }
    return link;
}

static void insert(struct openai_jobs *jobs, struct openai_part *part)
{
    struct openai_part **bucket = bucket_of(jobs, part->request.id);
    part->next = *bucket;
    *bucket = part;
}

/* Nothing of the job runs any more, or ever will. */
static void close_job(struct openai_jobs *jobs, struct openai_job *job)
{
    grammar_release(job->prompt.grammar);
    job->prompt.grammar = NULL;
    jobs->open_count--;
}

/* ---- Starting ---- */

static void on_client_gone(struct http_exchange *exchange)
{
    openai_job_abandon(exchange->context);
}

/* As many prompts of one request as fill all slots: more would only take the places of others in
 * the queue, and wait there until they time out. */
static uint32_t parts_open_max(const struct openai_job *job)
{
    const uint32_t slot_count = job->prompt.options.model->slot_count;
    const uint32_t at_once = slot_count / job->prompt.params.choice_count;
    return at_once > 0 ? at_once : 1;
}

/* Submits the next prompts. The engine's code is that of the first that it did not take. */
static enum error_code submit_parts(struct openai_jobs *jobs, struct openai_job *job,
                                    struct error *error)
{
    while (!job->is_answered && job->parts_submitted < job->part_count &&
           job->parts_open < parts_open_max(job)) {
        struct openai_part *part = &job->parts[job->parts_submitted];
        const enum error_code code = engine_submit(job->engine, &part->request, error);
        if (code != ERROR_NONE) {
            return code;
        }
        part->choices_open = part->request.choice_count;
        job->parts_submitted++;
        job->parts_open++;
        insert(jobs, part);
        if (job->is_paused) {
            engine_pause(job->engine, part->request.id);
        }
    }
    return ERROR_NONE;
}

/* The job begins; false: nothing of it runs, *error is its answer. */
static bool submit(struct openai_jobs *jobs, struct openai_job *job, struct openai_error *error)
{
    struct error failure = {0};
    const uint64_t first_id = jobs->last_id + 1;
    jobs->last_id += job->prompt.prompt_count;
    if (!openai_job_prepare(job, first_id)) {
        openai_error_set(error, OPENAI_ERROR_INVALID_REQUEST, NULL,
                         "the request needs more memory than one request may use");
        return false;
    }
    job->submitted_ns = clock_monotonic_ns(&jobs->server->clock);
    const enum error_code code = submit_parts(jobs, job, &failure);
    if (code != ERROR_NONE) {
        openai_error_from_code(error, code, failure.message);
    }
    if (job->parts_open == 0) {
        return false;
    }
    http_exchange_hold(job->prompt.exchange, HTTP_HOLDER_ENGINE);
    if (code != ERROR_NONE) {
        openai_job_fail(job, error); /* It ends with what was submitted. */
    }
    return true;
}

/* The client may be gone by now, if the pool made the prompt. */
static void on_prompt_done(struct prompt_job *prompt)
{
    struct openai_job *job = (struct openai_job *)prompt;
    struct openai_jobs *jobs = job->jobs;
    struct openai_error error = prompt->error;
    if (!job->is_answered && !prompt->failed && submit(jobs, job, &error)) {
        return;
    }
    close_job(jobs, job);
    openai_job_fail(job, &error);
}

static void refuse(struct http_exchange *exchange, enum openai_error_kind kind, const char *message)
{
    struct openai_error error;
    openai_error_set(&error, kind, NULL, "%s", message);
    openai_error_reply(exchange, &error);
}

void openai_jobs_start(struct openai_jobs *jobs, struct http_exchange *exchange,
                       enum openai_endpoint endpoint)
{
    struct server *server = jobs->server;
    if (server->draining || !server->ready) {
        refuse(exchange, OPENAI_ERROR_UNAVAILABLE,
               server->draining ? "the server is shutting down" : "the server is starting");
        return;
    }
    struct openai_job *job = arena_alloc(&exchange->arena, sizeof(*job));
    if (job == NULL) {
        refuse(exchange, OPENAI_ERROR_INTERNAL, "no memory for the request");
        return;
    }
    job->jobs = jobs;
    job->engine = server->engine;
    job->chunk = jobs->chunk;
    job->prompt.exchange = exchange;
    job->prompt.endpoint = endpoint;
    job->prompt.on_done = on_prompt_done;
    exchange->context = job;
    exchange->on_client_gone = on_client_gone;
    jobs->open_count++;
    prompt_job_start(&job->prompt);
}

/* ---- Running ---- */

/* A part has ended: the next ones, or the end of the job, which is gone then. */
static void go_on(struct openai_jobs *jobs, struct openai_job *job)
{
    struct error failure = {0};
    const enum error_code code = submit_parts(jobs, job, &failure);
    if (code != ERROR_NONE) {
        struct openai_error error;
        openai_error_from_code(&error, code, failure.message);
        openai_job_fail(job, &error);
    }
    if (job->parts_open == 0) {
        openai_job_complete(job);
        close_job(jobs, job);
        http_exchange_release(job->prompt.exchange, HTTP_HOLDER_ENGINE);
    }
}

bool openai_jobs_take_events(struct openai_jobs *jobs, uint32_t max)
{
    for (uint32_t taken = 0; taken < max; taken++) {
        const struct generation_event *event = engine_take_event(jobs->server->engine, jobs->event);
        if (event == NULL) {
            return false;
        }
        struct openai_part **link = link_of(jobs, event->request_id);
        struct openai_part *part = *link;
        if (part != NULL && openai_job_take_event(part, event)) {
            *link = part->next;
            go_on(jobs, part->job);
        }
    }
    return true;
}

static void tick_job(struct openai_job *job, uint64_t now_ns)
{
    const uint64_t age_ms = (now_ns - job->submitted_ns) / 1000000;
    if (job->has_event || job->is_answered) {
        return;
    }
    if (age_ms >= job->prompt.options.config->queue_timeout_ms + FIRST_EVENT_GRACE_MS) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_TIMEOUT, NULL, "no answer within %llu ms",
                         (unsigned long long)age_ms);
        openai_job_fail(job, &error);
    } else if (job->prompt.params.stream && age_ms >= LIMIT_COMMIT_MS) {
        openai_job_begin_stream(job);
    }
}

void openai_jobs_tick(struct openai_jobs *jobs, uint64_t now_ns)
{
    for (size_t index = 0; index < BUCKET_COUNT; index++) {
        for (struct openai_part *part = jobs->buckets[index]; part != NULL; part = part->next) {
            if (part == &part->job->parts[0]) { /* Without an event, all parts are still there. */
                tick_job(part->job, now_ns);
            }
        }
    }
}

void openai_jobs_cancel_all(struct openai_jobs *jobs)
{
    for (size_t index = 0; index < BUCKET_COUNT; index++) {
        for (struct openai_part *part = jobs->buckets[index]; part != NULL; part = part->next) {
            engine_cancel(part->job->engine, part->request.id);
        }
    }
}
