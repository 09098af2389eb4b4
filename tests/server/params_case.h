/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/params_case.h - reads requests, and says what must come of them.
 *
 * The whole fixture is here: each test that includes it has its own. Thread: main. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "openai_case.h"
#include "server/openai_params.h"

static struct openai_case server;
static struct openai_params params;
static struct openai_error error;

static void params_case_setup(void)
{
    openai_case_open(&server);
}

static void params_case_teardown(void)
{
    openai_case_close(&server);
}

static bool read_json(enum openai_endpoint endpoint, const char *json)
{
    const struct text body = openai_case_body(&server, text_from(json));
    return openai_params_read(endpoint, body, &server.options, &server.arena, &params, &error);
}

/* Adds members to a request that is otherwise complete. */
static bool read_with(enum openai_endpoint endpoint, const char *members)
{
    char json[8192];
    const char *prompt = endpoint == OPENAI_CHAT
                             ? "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
                             : "\"prompt\":\"hi\"";
    snprintf(json, sizeof(json), "{%s%s%s}", prompt, members[0] == '\0' ? "" : ",", members);
    return read_json(endpoint, json);
}

static void accept(enum openai_endpoint endpoint, const char *members)
{
    ck_assert_msg(read_with(endpoint, members), "%s: %s", members, error.message);
}

static void refuse(enum openai_endpoint endpoint, const char *members, const char *param,
                   const char *message)
{
    ck_assert_msg(!read_with(endpoint, members), "%s was accepted", members);
    ck_assert_uint_eq(error.status, 400);
    ck_assert_str_eq(error.type, "invalid_request_error");
    ck_assert_msg(strcmp(error.param, param) == 0, "%s: param '%s'", members, error.param);
    ck_assert_msg(strstr(error.message, message) != NULL, "%s: '%s'", members, error.message);
}
