/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/jobs_case.c - one request between a fake exchange and the fake engine.
 *
 * Thread: main. */
#include "jobs_case.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct openai_case openai_case;
struct server server;
struct fake_exchange fake;
uint64_t now_ns;

static uint64_t read_clock(void *context)
{
    (void)context;
    return now_ns;
}

void jobs_case_setup(void)
{
    struct error error = {0};
    openai_case_open(&openai_case);
    fake_engine_reset();
    now_ns = 1000 * MS;
    server = (struct server){.config = &openai_case.config,
                             .model = &openai_case.model,
                             .tokenizer = openai_case.tokenizer,
                             .clock = {.monotonic_ns = read_clock},
                             .ready = true};
    ck_assert_int_eq(uv_loop_init(&server.loop), 0);
    ck_assert_int_eq(openai_jobs_create(&server, &server.jobs, &error), ERROR_NONE);
}

void jobs_case_teardown(void)
{
    ck_assert_uint_eq(openai_jobs_count(server.jobs), 0);
    fake_exchange_deinit(&fake);
    openai_jobs_destroy(server.jobs);
    ck_assert_int_eq(uv_loop_close(&server.loop), 0);
    openai_case_close(&openai_case);
}

uint64_t jobs_case_start(http_handler *handler, const char *body)
{
    fake_exchange_init(&fake, &server, body);
    handler(&fake.shared);
    ck_assert_msg(fake_engine.submits == 1, "%s", fake.body);
    ck_assert_uint_eq(fake.holders, HTTP_HOLDER_ENGINE);
    ck_assert_uint_eq(openai_jobs_count(server.jobs), 1);
    return fake_engine.request->id;
}

void jobs_case_take_events(void)
{
    ck_assert(!openai_jobs_take_events(server.jobs, 100));
}

void jobs_case_stop(uint64_t id, uint32_t choice, uint32_t tokens)
{
    fake_engine_end(id, choice, GENERATION_ENDED_BY_STOP, ERROR_NONE, tokens);
}

void jobs_case_assert_choices(const char *expected)
{
    static char choices[16384];
    size_t len = 0;
    const char *line = fake.body;
    choices[0] = '\0';
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        const char *begin = strstr(line, "\"choices\":[");
        begin = begin == NULL || begin > end ? line : begin + strlen("\"choices\":[");
        len += (size_t)snprintf(choices + len, sizeof(choices) - len, "%.*s\n", (int)(end - begin),
                                begin);
        line = end + 1;
    }
    ck_assert_str_eq(choices, expected);
}
