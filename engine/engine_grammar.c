/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_grammar.c - sequences that a grammar binds: their states, masks, and ends.
 *
 * A row that will draw needs the mask of the text before it. With two steps in flight that text is
 * known only when the last draw was collected: until then the row sits out, and the others go on
 * without it. So it does when masks take longer than their share of a step: what was worked out of
 * one is kept, and the next step goes on with it. */
#include "engine/engine_internal.h"

#include "base/log.h"
#include "engine/tokenizer.h"

enum {
    /* The part of a step that masks may take. A device works meanwhile when steps overlap. */
    SHARE_OF_A_STEP = 8,
    SHARE_OF_OVERLAPPING = 4,
    TURN_NS_MIN = 200 * 1000, /* While nothing is known about steps, or they are very short. */
};

static struct text token_text(const void *context, int32_t token)
{
    return tokenizer_decode(context, token);
}

enum error_code engine_grammar_open(struct engine *engine, struct error *error)
{
    const uint32_t row_count = engine->backend->row_vocabulary;
    const uint32_t token_count = tokenizer_token_count(engine->tokenizer);
    const struct grammar_vocabulary_options options = {
        .row_count = row_count,
        .token_count = token_count < row_count ? token_count : row_count,
        .token_text = token_text,
        .context = engine->tokenizer,
    };
    const enum error_code code = grammar_vocabulary_create(&options, &engine->vocabulary, error);
    if (code != ERROR_NONE) {
        return code;
    }
    engine->masks = grammar_masks_create(engine->vocabulary, LIMIT_GRAMMAR_MASKS_BYTES);
    return engine->masks != NULL
               ? ERROR_NONE
               : error_set(error, ERROR_OUT_OF_MEMORY, "engine: no memory for token masks");
}

void engine_grammar_close(struct engine *engine)
{
    for (uint32_t slot = 0; engine->sequences != NULL && slot < engine->backend->slot_count;
         slot++) {
        grammar_state_destroy(engine->sequences[slot].grammar);
    }
    grammar_masks_destroy(engine->masks);
    grammar_vocabulary_destroy(engine->vocabulary);
}

bool engine_grammar_admit(struct engine *engine, const struct generation_request *request)
{
    if (request->grammar == NULL) {
        return true;
    }
    for (uint32_t choice = 0; choice < request->choice_count; choice++) {
        struct sequence *sequence = &engine->sequences[engine->acquired[choice]];
        ASSERT(sequence->grammar == NULL);
        sequence->grammar = grammar_state_create(request->grammar);
        if (sequence->grammar == NULL) {
            while (choice-- > 0) {
                struct sequence *made = &engine->sequences[engine->acquired[choice]];
                grammar_state_destroy(made->grammar);
                made->grammar = NULL;
            }
            return false;
        }
    }
    return true;
}

static uint64_t turn_ns(const struct engine *engine)
{
    const bool overlaps = engine->backend->steps_in_flight_max > 1;
    const double share =
        engine->pace.decode_step_ns / (overlaps ? SHARE_OF_OVERLAPPING : SHARE_OF_A_STEP);
    return share > TURN_NS_MIN ? (uint64_t)share : TURN_NS_MIN;
}

static void publish_counters(struct engine *engine)
{
    const struct grammar_masks_counters counters = grammar_masks_count(engine->masks);
    atomic_store_explicit(&engine->stats.masks_found, counters.found, memory_order_relaxed);
    atomic_store_explicit(&engine->stats.masks_built, counters.built, memory_order_relaxed);
}

/* Whether the mask of a row is at hand; else works on it until then, if none else is in work. */
static bool prepare_row(struct engine *engine, struct sequence *sequence, uint64_t until_ns)
{
    const bool may_work = engine->mask_in_work == NULL || engine->mask_in_work == sequence;
    const bool is_ready =
        grammar_masks_prepare(engine->masks, sequence->grammar, &engine->options.clock,
                              may_work ? until_ns : 0);
    if (may_work) {
        engine->mask_in_work = is_ready ? NULL : sequence;
    }
    return is_ready;
}

bool engine_grammar_prepare(struct engine *engine)
{
    const uint64_t begin = clock_monotonic_ns(&engine->options.clock);
    const uint64_t until = begin + turn_ns(engine);
    const uint32_t count = engine->ordered_count;
    const uint32_t first = count > 0 ? engine->mask_first % count : 0;
    uint32_t made = 0;
    bool others_wait = false;
    if (engine->mask_in_work != NULL && !sequence_wants_mask(engine->mask_in_work)) {
        engine->mask_in_work = NULL; /* It has ended or was paused. */
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t index = (first + i) % count;
        struct sequence *sequence = &engine->sequences[engine->ordered[index]];
        if (!sequence_wants_mask(sequence)) {
            continue;
        }
        if (made > 0 && clock_monotonic_ns(&engine->options.clock) >= until) {
            engine->mask_first = index; /* It comes first the next time. */
            others_wait = true;
            break;
        }
        if (prepare_row(engine, sequence, until)) {
            backend_slot_mask(engine->backend, sequence->slot,
                              grammar_masks_find(engine->masks, sequence->grammar));
            sequence->mask_ready = true;
            made++;
            continue;
        }
        others_wait = true;
        if (engine->mask_in_work == sequence) {
            engine->mask_first = index + 1; /* The others first, the next time. */
            break;
        }
    }
    if (made > 0 || others_wait) {
        publish_counters(engine);
    }
    return others_wait;
}

bool engine_grammar_follow(const struct engine *engine, struct sequence *sequence,
                           const struct sampled *sampled)
{
    if (sequence->grammar == NULL || sampled->end == SAMPLED_STOP_TOKEN) {
        return true;
    }
    const struct text bytes = tokenizer_decode(engine->tokenizer, sampled->token);
    if (bytes.len > 0 && grammar_advance(sequence->grammar, bytes)) {
        return true;
    }
    log_event(LOG_ERROR, "engine", "a token was drawn that its mask forbids",
              LOG_I("request", sequence->open->request->id), LOG_I("token", sampled->token));
    return false;
}
