/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/fake_backend.c - the echoing backend. */
#include "tests/fakes/fake_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum {
    MARK = '>' + 1, /* Ends the prompt. */
    JOURNAL_BYTES = 1 << 16,
    IN_FLIGHT_MAX = 2,
};

struct fake_state {
    uint32_t count;
    int32_t tokens[FAKE_TOKENS_MAX];
};

struct fake_slot {
    struct fake_state state;
    struct sampler *sampler;
    int32_t sampled; /* Fed by an item without tokens. */
    bool ended;
};

struct fake_step {
    uint32_t count;
    struct backend_result *results; /* [slot_count] */
    struct sampled *scores;         /* [row_count_max] */
    uint32_t score_count;
};

struct fake_backend {
    struct backend backend; /* First. */
    struct fake_slot *slots;
    struct sampling_vocabulary vocabulary;
    struct sampler_scratch *scratch;
    fake_logits *logits;
    const void *logits_context;
    float *logits_row; /* [V] */
    struct fake_step steps[IN_FLIGHT_MAX];
    uint32_t step_count; /* In flight, oldest first. */
    uint32_t fail_at_step;
    struct backend_counters counters;
    uint32_t collected;
    size_t journal_len;
    char journal[JOURNAL_BYTES];
};

static struct fake_backend *from(const struct backend *backend)
{
    return (struct fake_backend *)backend;
}

static void note(struct fake_backend *fake, const char *text)
{
    const size_t len = strlen(text);
    if (fake->journal_len + len < JOURNAL_BYTES) {
        memcpy(fake->journal + fake->journal_len, text, len + 1);
        fake->journal_len += len;
    }
}

static void slot_start(struct backend *backend, uint32_t slot, const struct sampling *sampling,
                       const void *initial_state)
{
    struct fake_slot *target = &from(backend)->slots[slot];
    memset(&target->state, 0, sizeof target->state);
    if (initial_state != NULL) {
        memcpy(&target->state, initial_state, sizeof target->state);
        from(backend)->counters.state_copied_bytes += sizeof target->state;
    }
    target->ended = false;
    sampler_start(target->sampler, sampling);
}

static void slot_mask(struct backend *backend, uint32_t slot, const uint32_t *mask)
{
    sampler_set_mask(from(backend)->slots[slot].sampler, mask);
}

/* What comes after these tokens: the prompt again, from its start, and then the end. */
static int32_t successor(const int32_t *tokens, uint32_t token_count)
{
    for (uint32_t i = 0; i < token_count; i++) {
        if (tokens[i] == MARK) {
            const uint32_t generated = token_count - i - 1;
            return generated < i ? tokens[generated] : 0;
        }
    }
    return '?' + 1;
}

static void echo(const void *context, const int32_t *tokens, uint32_t token_count,
                 float *logits_out)
{
    (void)context;
    logits_out[successor(tokens, token_count)] = 20.0f;
}

static void journal_item(struct fake_backend *fake, const struct backend_item *item)
{
    char line[64];
    if (item->source_slot != item->slot) {
        snprintf(line, sizeof line, "F(%u<%u) ", item->slot, item->source_slot);
    } else if (item->tokens != NULL) {
        snprintf(line, sizeof line, "P(%u,%u) ", item->slot, item->token_count);
    } else {
        snprintf(line, sizeof line, "D(%u) ", item->slot);
    }
    note(fake, line);
}

/* Adds the item's tokens to the state one by one; after each, scores its target. */
static void feed(struct fake_backend *fake, const struct backend_item *item,
                 const int32_t *tokens, struct fake_step *step, struct backend_result *result)
{
    struct fake_state *state = &fake->slots[item->slot].state;
    ASSERT_COMPARE(state->count + item->token_count, <=, FAKE_TOKENS_MAX);
    result->scores = step->scores + step->score_count;
    for (uint32_t i = 0; i < item->token_count; i++) {
        state->tokens[state->count++] = tokens[i];
        if ((item->want & BACKEND_WANT_SCORE) != 0 && i < item->target_count) {
            step->scores[step->score_count++] = (struct sampled){
                .token = item->targets[i],
                .logprob =
                    item->targets[i] == successor(state->tokens, state->count) ? 0.0f : -1.0f,
            };
            result->score_count++;
        }
    }
    fake->counters.tokens += item->token_count;
}

static void run_item(struct fake_backend *fake, const struct backend_item *item,
                     struct fake_step *step, struct backend_result *result)
{
    struct fake_slot *slot = &fake->slots[item->slot];
    *result = (struct backend_result){.slot = item->slot};
    if (slot->ended) {
        return;
    }
    if (item->source_slot != item->slot) {
        slot->state = fake->slots[item->source_slot].state;
        sampler_fork(slot->sampler, fake->slots[item->source_slot].sampler);
    }
    const int32_t *tokens = item->tokens != NULL ? item->tokens : &slot->sampled;
    if (item->tokens != NULL) {
        sampler_note_prompt(slot->sampler, tokens, item->token_count);
    }
    feed(fake, item, tokens, step, result);
    if (item->want & BACKEND_WANT_SAMPLE) {
        memset(fake->logits_row, 0, fake->backend.row_vocabulary * sizeof *fake->logits_row);
        fake->logits(fake->logits_context, slot->state.tokens, slot->state.count,
                     fake->logits_row);
        sampler_draw(slot->sampler, fake->scratch, fake->logits_row, &result->sampled);
        result->sampled_valid = true;
        slot->sampled = result->sampled.token;
        slot->ended = result->sampled.end != SAMPLED_GOES_ON;
    }
}

static enum error_code submit(struct backend *backend, const struct backend_item *items,
                              uint32_t item_count, struct error *error)
{
    (void)error;
    struct fake_backend *fake = from(backend);
    struct fake_step *step = &fake->steps[fake->step_count++];
    step->count = item_count;
    step->score_count = 0;
    for (uint32_t i = 0; i < item_count; i++) {
        journal_item(fake, &items[i]);
        run_item(fake, &items[i], step, &step->results[i]);
    }
    fake->journal[--fake->journal_len] = '\0';
    note(fake, "\n");
    fake->counters.steps++;
    return ERROR_NONE;
}

static enum error_code collect(struct backend *backend, struct backend_result *results_out,
                               uint32_t *result_count_out, struct error *error)
{
    struct fake_backend *fake = from(backend);
    if (++fake->collected == fake->fail_at_step) {
        return error_set(error, ERROR_DEVICE, "the fake device failed at step %u",
                         fake->collected);
    }
    const struct fake_step oldest = fake->steps[0];
    memcpy(results_out, oldest.results, oldest.count * sizeof *results_out);
    *result_count_out = oldest.count;
    fake->steps[0] = fake->steps[1];
    fake->steps[1] = oldest;
    fake->step_count--;
    return ERROR_NONE;
}

static enum error_code state_save(struct backend *backend, uint32_t slot, void *bytes_out,
                                  uint64_t *ticket_out, struct error *error)
{
    (void)error;
    memcpy(bytes_out, &from(backend)->slots[slot].state, sizeof(struct fake_state));
    from(backend)->counters.state_copied_bytes += sizeof(struct fake_state);
    *ticket_out = 0;
    return ERROR_NONE;
}

static enum error_code state_load(struct backend *backend, uint32_t slot, const void *bytes,
                                  uint64_t *ticket_out, struct error *error)
{
    (void)error;
    memcpy(&from(backend)->slots[slot].state, bytes, sizeof(struct fake_state));
    from(backend)->counters.state_copied_bytes += sizeof(struct fake_state);
    *ticket_out = 0;
    return ERROR_NONE;
}

static bool ticket_is_done(struct backend *backend, uint64_t ticket)
{
    (void)backend;
    (void)ticket;
    return true;
}

static void counters(const struct backend *backend, struct backend_counters *counters_out)
{
    *counters_out = from(backend)->counters;
}

static void close_fake(struct backend *backend)
{
    struct fake_backend *fake = from(backend);
    for (uint32_t i = 0; i < backend->slot_count; i++) {
        sampler_destroy(fake->slots[i].sampler);
    }
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) {
        free(fake->steps[i].results);
        free(fake->steps[i].scores);
    }
    sampler_scratch_destroy(fake->scratch);
    free(fake->logits_row);
    free(fake->slots);
    free(fake);
}

static const struct backend_ops fake_ops = {
    .name = "fake",
    .slot_start = slot_start,
    .slot_mask = slot_mask,
    .submit = submit,
    .collect = collect,
    .state_save = state_save,
    .state_load = state_load,
    .ticket_is_done = ticket_is_done,
    .counters = counters,
    .close = close_fake,
};

struct backend *fake_backend_open(const struct fake_backend_options *options)
{
    const uint32_t row_count =
        options->row_vocabulary > 0 ? options->row_vocabulary : FAKE_VOCABULARY;
    struct fake_backend *fake = calloc(1, sizeof *fake);
    ASSERT(fake != NULL);
    fake->backend = (struct backend){
        .ops = &fake_ops,
        .slot_count = options->slot_count,
        .row_count_max = options->row_count_max,
        .item_count_max = options->slot_count,
        .row_vocabulary = row_count,
        .steps_in_flight_max = options->steps_in_flight_max,
        .state_bytes = sizeof(struct fake_state),
    };
    fake->fail_at_step = options->fail_at_step;
    fake->vocabulary =
        (struct sampling_vocabulary){.row_count = row_count, .token_count = row_count};
    fake->logits = options->logits != NULL ? options->logits : echo;
    fake->logits_context = options->logits_context;
    fake->logits_row = calloc(row_count, sizeof *fake->logits_row);
    fake->slots = calloc(options->slot_count, sizeof *fake->slots);
    fake->scratch = sampler_scratch_create(&fake->vocabulary);
    ASSERT(fake->slots != NULL && fake->scratch != NULL && fake->logits_row != NULL);
    for (uint32_t i = 0; i < options->slot_count; i++) {
        fake->slots[i].sampler = sampler_create(&fake->vocabulary);
        ASSERT(fake->slots[i].sampler != NULL);
    }
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) {
        fake->steps[i].results = calloc(options->slot_count, sizeof *fake->steps[i].results);
        fake->steps[i].scores = calloc(options->row_count_max, sizeof *fake->steps[i].scores);
        ASSERT(fake->steps[i].results != NULL && fake->steps[i].scores != NULL);
    }
    return &fake->backend;
}

const char *fake_backend_journal(const struct backend *backend)
{
    return from(backend)->journal;
}

struct text fake_vocabulary(void)
{
    static char vocabulary[256 * 16];
    size_t len = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        len += (size_t)snprintf(vocabulary + len, sizeof vocabulary - len, "%u b'\\x%02x' 1\n",
                                byte + 1, byte);
    }
    return (struct text){.bytes = vocabulary, .len = len};
}
