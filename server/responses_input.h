/* SPDX-License-Identifier: Apache-2.0
 *
 * server/responses_input.h - the fields that only /v1/responses has.
 *
 * Rows of openai_fields.c name them. Thread: any. */
#pragma once

#include "server/openai_reading.h"

/* Text that comes before the input, as the system's message. */
openai_read_field responses_input_read_instructions;
/* A string, or an array of items: messages, calls of functions and what they returned. */
openai_read_field responses_input_read;
/* Refuses the id of a response or conversation: none is kept here. */
openai_read_field responses_input_refuse_state;
/* {"effort": ..} */
openai_read_field responses_input_read_reasoning;
/* {"format": ..}: what the answer must be. */
openai_read_field responses_input_read_format;
/* Up to 16 strings by name, which the reply repeats. */
openai_read_field responses_input_read_metadata;
