/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_grammar.h - where the grammar of a prompt job is compiled.
 *
 * A usual form takes a fraction of a millisecond: it is compiled at once, on libuv's pool. One that
 * takes longer is given up there and compiled in the background (background.h): such forms wait
 * for each other, the streams and usual forms of others do not wait for them. */
#pragma once

#include "server/prompt_job.h"

/* Whether there is a grammar that is not yet compiled: a count of tokens needs none. Thread: any.
 */
bool prompt_grammar_is_wanted(const struct prompt_job *job);

/* Makes .grammar, fails the job, or says .compiles_long. Thread: pool. */
void prompt_grammar_try(struct prompt_job *job);

/* Has the background make .grammar or fail the job, and then on_compiled called on the loop, with
 * .compiles_long taken back. False: too many wait, and the job has failed. Thread: loop. */
WARN_UNUSED bool prompt_grammar_defer(struct prompt_job *job, prompt_job_callback *on_compiled);
