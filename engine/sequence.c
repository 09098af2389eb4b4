/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sequence.c - the phases of a choice. */
#include "engine/sequence.h"

#include "engine/tokenizer.h"

void sequence_start(struct sequence *sequence, struct open_request *open, uint32_t choice,
                    uint32_t leader_slot, uint64_t order)
{
    const struct generation_request *request = open->request;
    ASSERT(sequence->phase == SEQUENCE_FREE);
    ASSERT(request->prompt_count > 0);
    sequence->phase = choice == 0 ? SEQUENCE_PROMPT : SEQUENCE_FORK;
    sequence->open = open;
    sequence->choice = choice;
    sequence->leader_slot = leader_slot;
    sequence->order = order;
    sequence->prompt_run = 0;
    sequence->sampled_run = 0;
    sequence->token_count = 0;
    sequence->last_token_ns = 0;
    sequence->mask_ready = false;
    text_stream_init(&sequence->text, request->stops, request->stop_count, request->stops_included);
}

void sequence_end(struct sequence *sequence)
{
    ASSERT(sequence->phase != SEQUENCE_FREE);
    sequence->phase = SEQUENCE_FREE;
    sequence->open = NULL;
    sequence->epoch++;
    grammar_state_destroy(sequence->grammar);
    sequence->grammar = NULL;
}

static bool is_bound(const struct sequence *sequence)
{
    return sequence->grammar != NULL && sequence->open->request->sampling.max_tokens > 0;
}

bool sequence_wants_mask(const struct sequence *sequence)
{
    return sequence->phase != SEQUENCE_FREE && is_bound(sequence) && !sequence->mask_ready &&
           !sequence->open->paused && sequence->sampled_run == sequence->token_count &&
           sequence->sampled_run < sequence->open->request->sampling.max_tokens;
}

bool sequence_candidate(const struct sequence *sequence, const struct sequence *leader,
                        struct scheduler_candidate *candidate_out)
{
    if (sequence->phase == SEQUENCE_FREE || sequence->open->paused) {
        return false;
    }
    if (is_bound(sequence) && !sequence->mask_ready) {
        return false;
    }
    const struct generation_request *request = sequence->open->request;
    *candidate_out = (struct scheduler_candidate){.slot = sequence->slot};
    switch (sequence->phase) {
    case SEQUENCE_FREE:
        return false;
    case SEQUENCE_PROMPT:
        /* The last token waits until every fork has read the state before it. */
        candidate_out->prompt_left = request->prompt_count - sequence->prompt_run -
                                     (sequence->open->forks_pending > 0 ? 1 : 0);
        return candidate_out->prompt_left > 0;
    case SEQUENCE_FORK:
        candidate_out->prompt_left = 1;
        return leader->prompt_run == request->prompt_count - 1;
    case SEQUENCE_DECODE:
        return sequence->sampled_run < request->sampling.max_tokens;
    }
    return false;
}

/* After each token of the chunk, scores the one that follows it in the prompt. */
static void score_chunk(const struct sequence *sequence, uint32_t token_count,
                        struct backend_item *item_out)
{
    const struct generation_request *request = sequence->open->request;
    const uint32_t left = request->prompt_count - sequence->prompt_run - 1;
    item_out->targets = request->prompt + sequence->prompt_run + 1;
    item_out->target_count = token_count < left ? token_count : left;
    if (item_out->target_count > 0) {
        item_out->want |= BACKEND_WANT_SCORE;
    }
}

void sequence_advance(struct sequence *sequence, uint32_t token_count,
                      struct backend_item *item_out)
{
    const struct generation_request *request = sequence->open->request;
    *item_out = (struct backend_item){
        .slot = sequence->slot,
        .source_slot = sequence->slot,
        .token_count = token_count,
    };
    switch (sequence->phase) {
    case SEQUENCE_FREE:
        ASSERT(false);
        break;
    case SEQUENCE_PROMPT:
        item_out->tokens = request->prompt + sequence->prompt_run;
        if (request->prompt_scored) {
            score_chunk(sequence, token_count, item_out);
        }
        sequence->prompt_run += token_count;
        break;
    case SEQUENCE_FORK:
        ASSERT_COMPARE(token_count, ==, 1);
        item_out->tokens = request->prompt + request->prompt_count - 1;
        item_out->source_slot = sequence->leader_slot;
        sequence->prompt_run = request->prompt_count;
        sequence->open->forks_pending--;
        break;
    case SEQUENCE_DECODE:
        ASSERT_COMPARE(token_count, ==, 1);
        break;
    }
    ASSERT_COMPARE(sequence->prompt_run, <=, request->prompt_count);
    if (sequence->prompt_run == request->prompt_count) {
        sequence->phase = SEQUENCE_DECODE;
        if (request->sampling.max_tokens > 0) {
            sequence->sampled_run++;
            sequence->mask_ready = false;
            item_out->want |= BACKEND_WANT_SAMPLE;
        }
    }
}

struct sequence_outcome sequence_take(struct sequence *sequence, const struct sampled *sampled,
                                      const struct tokenizer *tokenizer, char *piece_out)
{
    struct sequence_outcome outcome = {.ended = true, .end = GENERATION_ENDED_BY_STOP};
    if (sampled->end == SAMPLED_STOP_TOKEN) {
        /* Nothing could be drawn, and the text is not whole: it was cut. */
        if (sequence->grammar != NULL && sampled->token == TOKEN_END_OF_TEXT &&
            !grammar_is_complete(sequence->grammar)) {
            outcome.end = GENERATION_ENDED_BY_LENGTH;
        }
        outcome.text_len = text_stream_finish(&sequence->text, piece_out);
        return outcome;
    }
    sequence->token_count++;
    const struct text bytes = tokenizer_decode(tokenizer, sampled->token);
    outcome.text_len = text_stream_push(&sequence->text, bytes, piece_out);
    if (sequence->text.stopped) {
        return outcome;
    }
    outcome.ended = sampled->end == SAMPLED_LENGTH;
    if (outcome.ended) {
        outcome.end = GENERATION_ENDED_BY_LENGTH;
        outcome.text_len += text_stream_finish(&sequence->text, piece_out + outcome.text_len);
    }
    return outcome;
}
