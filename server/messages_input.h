/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages_input.h - the fields that only /v1/messages has.
 *
 * Rows of openai_fields.c name them. Thread: any. */
#pragma once

#include "server/openai_reading.h"

/* Text, or an array of text blocks, that comes before the messages. */
openai_read_field messages_input_read_system;
/* An array of messages whose content is text or blocks. A last one of the assistant's is
 * continued. */
openai_read_field messages_input_read;
/* {"type": "enabled" | "disabled" | "adaptive"} */
openai_read_field messages_input_read_thinking;
