/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages_error.h - an error as Anthropic's clients expect it.
 *
 * Statuses and reasons are openai_error.c's. Thread: any. */
#pragma once

#include <stddef.h>

#include "server/openai_error.h"

/* Writes {"type":"error","error":{"type":..,"message":..},"request_id":..}; returns its length.
 * capacity >= OPENAI_ERROR_BODY_BYTES. */
size_t messages_error_body(const struct openai_error *error, const char *request_id, char *buffer,
                           size_t capacity);
