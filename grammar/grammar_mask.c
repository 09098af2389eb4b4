/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_mask.c - walking threads over the vocabulary, and the cache of what came out.
 *
 * The mask of a state is the union of those of its threads, so threads are what is kept: they recur
 * where whole states do not. A key says all that a token can see: counts far from their limits are
 * the same. Keys are compared in full; nothing rests on a hash. Thread: the engine's. */
#include "grammar/grammar_mask.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "grammar/grammar_build.h"
#include "grammar/grammar_state.h"
#include "grammar/grammar_vocabulary.h"

enum {
    KEY_WORDS_MAX = 8 + 5 * 48, /* A thread within 48 frames; deeper ones are not kept. */
    WALK_THREADS_MAX = 8192,    /* Of all depths of a walk. */
    NO_ENTRY = -1,
    ENTRIES_TO_PREPARE = 2 * GRAMMAR_ALTERNATIVES_MAX, /* All parts of a mask are kept at once. */
};

/* What a mask was worked out for. */
struct mask_key {
    uint32_t count;
    uint32_t words[KEY_WORDS_MAX];
};

struct mask_entry {
    struct mask_key key; /* count 0: not in use. */
    uint32_t slot;       /* Of the hash table. */
    int32_t chain;       /* Next of the same slot. */
    int32_t older;
    int32_t newer;
};

struct grammar_masks {
    const struct grammar_vocabulary *vocabulary;
    struct grammar_masks_counters counters;
    uint32_t *bits;             /* [entry_count][words] */
    struct mask_entry *entries; /* [entry_count] */
    int32_t *slots;             /* [slot_count] */
    uint32_t entry_count;
    uint32_t used_count;
    uint32_t slot_count;
    int32_t newest;
    int32_t oldest;
    uint32_t *sum;             /* [words] The union that is handed out. */
    uint32_t *passing;         /* [words] For threads that are not kept. */
    struct mask_key key;       /* In work. */
    struct step_frames frames; /* The state's, and what a walk adds. */
    struct step_thread walk_threads[WALK_THREADS_MAX];
    uint32_t walk_ends[LIMIT_TOKEN_BYTES + 2];   /* Of the threads of each depth. */
    uint32_t walk_frames[LIMIT_TOKEN_BYTES + 2]; /* Frames there were then. */
};

static void allow(uint32_t *mask, int32_t token)
{
    mask[(uint32_t)token / 32] |= UINT32_C(1) << ((uint32_t)token % 32);
}

/* ---- The walk ---- */

/* Steps the threads [begin, end) to those after them, from `end` on; returns how many. */
static uint32_t step_all(struct grammar_masks *masks, const struct grammar_program *program,
                         uint32_t begin, uint32_t end, unsigned char byte)
{
    struct step_thread *const threads = masks->walk_threads;
    struct step_set set = {.threads = threads + end, .capacity = WALK_THREADS_MAX - end};
    if (end - begin == 1 && set.capacity > 0) {
        threads[end] = threads[begin];
        const enum step_within within = grammar_step_within(program, &threads[end], byte);
        if (within != STEP_WITHIN_UNKNOWN) {
            return within == STEP_WITHIN_TAKEN ? 1 : 0;
        }
    }
    for (uint32_t one = begin; one < end; one++) {
        grammar_step_byte(program, &masks->frames, &threads[one], byte, &set);
    }
    return set.count;
}

/* Allows the tokens of the trie that the thread takes. */
static void walk(struct grammar_masks *masks, const struct grammar_program *program,
                 const struct vocabulary_trie *trie, const struct step_thread *thread,
                 uint32_t *mask)
{
    masks->walk_threads[0] = *thread;
    masks->walk_ends[0] = 1;
    masks->walk_frames[0] = masks->frames.count;
    const uint32_t frames_before = masks->frames.count;
    for (uint32_t index = 0; index < trie->node_count;) {
        const struct vocabulary_node *node = &trie->nodes[index];
        const uint32_t depth = node->depth;
        const uint32_t begin = depth == 1 ? 0 : masks->walk_ends[depth - 2];
        const uint32_t end = masks->walk_ends[depth - 1];
        grammar_step_frames_cut(&masks->frames, masks->walk_frames[depth - 1]);
        const uint32_t count = step_all(masks, program, begin, end, node->byte);
        if (count == 0) {
            index = node->skip;
            continue;
        }
        masks->walk_ends[depth] = end + count;
        masks->walk_frames[depth] = masks->frames.count;
        if (node->token != 0) {
            allow(mask, node->token);
        }
        index++;
    }
    grammar_step_frames_cut(&masks->frames, frames_before);
}

/* Whether the thread stands between two characters of a string, or of a name, with any content. */
static bool is_in_free_string(const struct grammar_program *program,
                              const struct step_thread *thread)
{
    return (thread->phase == STEP_STRING || thread->phase == STEP_KEY) &&
           thread->lex == STEP_LEX_BODY && thread->state == AUTOMATON_UTF8_START &&
           (thread->phase == STEP_KEY ||
            program->nodes[thread->node].start == AUTOMATON_UTF8_START);
}

/* Allows the tokens that stay within a string with room for `points` code points. */
static void allow_inside(const struct grammar_vocabulary *vocabulary, uint32_t points,
                         uint32_t *mask)
{
    memcpy(mask, vocabulary->inside_mask, vocabulary->words * sizeof(mask[0]));
    for (uint32_t index = 0;
         index < vocabulary->inside_count && vocabulary->inside[index].points > points; index++) {
        const uint32_t token = (uint32_t)vocabulary->inside[index].token;
        mask[token / 32] &= ~(UINT32_C(1) << (token % 32));
    }
}

static void build_mask(struct grammar_masks *masks, const struct grammar_program *program,
                       const struct step_thread *thread, uint32_t *mask)
{
    const struct grammar_vocabulary *vocabulary = masks->vocabulary;
    const uint32_t frames_before = masks->frames.count;
    masks->counters.built++;
    if (is_in_free_string(program, thread)) {
        const uint32_t max =
            thread->phase == STEP_STRING ? program->nodes[thread->node].max : GRAMMAR_NONE;
        allow_inside(vocabulary, max == GRAMMAR_NONE ? max : max - thread->count, mask);
        walk(masks, program, &vocabulary->leaving, thread, mask);
    } else {
        memset(mask, 0, vocabulary->words * sizeof(mask[0]));
        walk(masks, program, &vocabulary->all, thread, mask);
    }
    if (grammar_step_is_complete(program, &masks->frames, thread)) {
        allow(mask, 0);
    }
    grammar_step_frames_cut(&masks->frames, frames_before);
}

/* ---- Keys ---- */

static void add_word(struct mask_key *key, uint32_t word)
{
    key->words[key->count++] = word;
}

/* Adds how far a count is from its limits, as far as one token can come. */
static void add_distances(struct mask_key *key, uint32_t count, const struct program_node *node,
                          uint32_t reach)
{
    const uint32_t to_min = node->min > count ? node->min - count : 0;
    const uint32_t to_max = node->max == GRAMMAR_NONE ? GRAMMAR_NONE : node->max - count;
    add_word(key, to_min < reach ? to_min : reach);
    add_word(key, to_max < reach ? to_max : reach);
}

/* Writes the key of a thread; false: it is too deep to be kept. */
static bool write_key(struct mask_key *key, const struct grammar_program *program,
                      const struct step_frames *frames, const struct step_thread *thread,
                      uint32_t reach)
{
    key->count = 0;
    add_word(key, (uint32_t)program->serial);
    add_word(key, (uint32_t)(program->serial >> 32));
    add_word(key, thread->phase | (uint32_t)thread->lex << 8 | (uint32_t)thread->run << 16);
    add_word(key, thread->node);
    add_word(key, thread->state);
    add_word(key, thread->escape);
    if (thread->phase == STEP_STRING) {
        add_distances(key, thread->count, &program->nodes[thread->node], reach);
    } else {
        add_word(key, 0);
        add_word(key, 0);
    }
    for (uint32_t number = thread->frame; number != STEP_BOTTOM;
         number = frames->frames[number].parent) {
        const struct step_frame *frame = &frames->frames[number];
        const struct program_node *node = &program->nodes[frame->node];
        if (key->count + 5 > KEY_WORDS_MAX) {
            return false;
        }
        add_word(key, frame->node);
        add_word(key, (uint32_t)frame->seen);
        add_word(key, (uint32_t)(frame->seen >> 32));
        const bool counts =
            (node->kind == PROGRAM_ARRAY && node->count == 0) || node->kind == PROGRAM_REPEAT;
        if (counts) {
            add_distances(key, frame->count, node, reach);
        } else {
            add_word(key, frame->count);
            add_word(key, 0);
        }
    }
    return true;
}

static uint64_t hash_key(const struct mask_key *key)
{
    uint64_t hash = key->count;
    for (uint32_t index = 0; index < key->count; index++) {
        hash = (hash ^ key->words[index]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* ---- The cache ---- */

static uint32_t *bits_of(struct grammar_masks *masks, int32_t entry)
{
    return masks->bits + (size_t)entry * masks->vocabulary->words;
}

static void unlink_age(struct grammar_masks *masks, int32_t entry)
{
    const struct mask_entry *at = &masks->entries[entry];
    int32_t *const newer_link =
        at->newer == NO_ENTRY ? &masks->newest : &masks->entries[at->newer].older;
    int32_t *const older_link =
        at->older == NO_ENTRY ? &masks->oldest : &masks->entries[at->older].newer;
    *newer_link = at->older;
    *older_link = at->newer;
}

static void link_newest(struct grammar_masks *masks, int32_t entry)
{
    masks->entries[entry].newer = NO_ENTRY;
    masks->entries[entry].older = masks->newest;
    if (masks->newest != NO_ENTRY) {
        masks->entries[masks->newest].newer = entry;
    } else {
        masks->oldest = entry;
    }
    masks->newest = entry;
}

static void unlink_slot(struct grammar_masks *masks, int32_t entry)
{
    int32_t *link = &masks->slots[masks->entries[entry].slot];
    while (*link != entry) {
        link = &masks->entries[*link].chain;
    }
    *link = masks->entries[entry].chain;
}

static int32_t find_entry(const struct grammar_masks *masks, uint32_t slot)
{
    const struct mask_key *key = &masks->key;
    int32_t entry = masks->slots[slot];
    while (entry != NO_ENTRY) {
        const struct mask_key *other = &masks->entries[entry].key;
        if (other->count == key->count &&
            memcmp(other->words, key->words, key->count * sizeof(key->words[0])) == 0) {
            break;
        }
        entry = masks->entries[entry].chain;
    }
    return entry;
}

/* An entry for the key in work: a free one, or the one not asked for the longest. */
static int32_t claim_entry(struct grammar_masks *masks, uint32_t slot)
{
    int32_t entry;
    if (masks->used_count < masks->entry_count) {
        entry = (int32_t)masks->used_count++;
    } else {
        entry = masks->oldest;
        unlink_age(masks, entry);
        unlink_slot(masks, entry);
    }
    struct mask_entry *at = &masks->entries[entry];
    at->key.count = masks->key.count;
    memcpy(at->key.words, masks->key.words, masks->key.count * sizeof(at->key.words[0]));
    at->slot = slot;
    at->chain = masks->slots[slot];
    masks->slots[slot] = entry;
    link_newest(masks, entry);
    return entry;
}

/* The mask of one thread, borrowed until the next call. */
static const uint32_t *find_mask(struct grammar_masks *masks, const struct grammar_program *program,
                                 const struct step_thread *thread)
{
    if (!write_key(&masks->key, program, &masks->frames, thread,
                   masks->vocabulary->length_max + 1)) {
        build_mask(masks, program, thread, masks->passing);
        return masks->passing;
    }
    const uint32_t slot = (uint32_t)(hash_key(&masks->key) % masks->slot_count);
    int32_t entry = find_entry(masks, slot);
    if (entry != NO_ENTRY) {
        masks->counters.found++;
        unlink_age(masks, entry);
        link_newest(masks, entry);
        return bits_of(masks, entry);
    }
    entry = claim_entry(masks, slot);
    build_mask(masks, program, thread, bits_of(masks, entry));
    return bits_of(masks, entry);
}

static void take_frames(struct grammar_masks *masks, const struct grammar_state *state)
{
    memcpy(masks->frames.heads, state->frames.heads, sizeof(state->frames.heads));
    memcpy(masks->frames.frames, state->frames.frames,
           state->frames.count * sizeof(state->frames.frames[0]));
    masks->frames.count = state->frames.count;
}

bool grammar_masks_prepare(struct grammar_masks *masks, const struct grammar_state *state,
                           const struct clock *clock, uint64_t until_ns)
{
    const struct grammar_program *program = &state->grammar->program;
    const uint32_t reach = masks->vocabulary->length_max + 1;
    bool has_built = false;
    if (state->thread_count == 1 || masks->entry_count < ENTRIES_TO_PREPARE) {
        return true;
    }
    take_frames(masks, state);
    for (uint32_t index = 0; index < state->thread_count; index++) {
        const struct step_thread *thread = &state->threads[index];
        if (!write_key(&masks->key, program, &masks->frames, thread, reach)) {
            continue;
        }
        const uint32_t slot = (uint32_t)(hash_key(&masks->key) % masks->slot_count);
        int32_t entry = find_entry(masks, slot);
        if (entry != NO_ENTRY) {
            unlink_age(masks, entry); /* What is built here takes none of the others' places. */
            link_newest(masks, entry);
        } else if (until_ns == 0 || (has_built && clock_monotonic_ns(clock) >= until_ns)) {
            return false;
        } else {
            entry = claim_entry(masks, slot);
            build_mask(masks, program, thread, bits_of(masks, entry));
            has_built = true;
        }
    }
    return true;
}

const uint32_t *grammar_masks_find(struct grammar_masks *masks, const struct grammar_state *state)
{
    const struct grammar_program *program = &state->grammar->program;
    const uint32_t words = masks->vocabulary->words;
    take_frames(masks, state);
    if (state->thread_count == 1) {
        return find_mask(masks, program, &state->threads[0]);
    }
    memset(masks->sum, 0, words * sizeof(masks->sum[0]));
    for (uint32_t index = 0; index < state->thread_count; index++) {
        const uint32_t *mask = find_mask(masks, program, &state->threads[index]);
        for (uint32_t word = 0; word < words; word++) {
            masks->sum[word] |= mask[word];
        }
    }
    return masks->sum;
}

struct grammar_masks_counters grammar_masks_count(const struct grammar_masks *masks)
{
    return masks->counters;
}

struct grammar_masks *grammar_masks_create(const struct grammar_vocabulary *vocabulary,
                                           size_t bytes_max)
{
    const size_t mask_bytes = vocabulary->words * sizeof(uint32_t);
    const size_t entry_bytes = mask_bytes + sizeof(struct mask_entry) + 2 * sizeof(int32_t);
    const size_t wanted = bytes_max / entry_bytes;
    struct grammar_masks *masks = calloc(1, sizeof(*masks));
    if (masks == NULL) {
        return NULL;
    }
    masks->vocabulary = vocabulary;
    masks->entry_count = (uint32_t)(wanted < 1               ? 1
                                    : wanted > INT32_MAX / 4 ? INT32_MAX / 4
                                                             : wanted);
    masks->slot_count = 2 * masks->entry_count;
    masks->newest = masks->oldest = NO_ENTRY;
    masks->bits = malloc(masks->entry_count * mask_bytes);
    masks->entries = malloc(masks->entry_count * sizeof(masks->entries[0]));
    masks->slots = malloc(masks->slot_count * sizeof(masks->slots[0]));
    masks->sum = calloc(vocabulary->words, sizeof(uint32_t));
    masks->passing = calloc(vocabulary->words, sizeof(uint32_t));
    if (masks->bits == NULL || masks->entries == NULL || masks->slots == NULL ||
        masks->sum == NULL || masks->passing == NULL) {
        grammar_masks_destroy(masks);
        return NULL;
    }
    memset(masks->slots, 0xff, masks->slot_count * sizeof(masks->slots[0]));
    return masks;
}

void grammar_masks_destroy(struct grammar_masks *masks)
{
    if (masks == NULL) {
        return;
    }
    free(masks->passing);
    free(masks->sum);
    free(masks->slots);
    free(masks->entries);
    free(masks->bits);
    free(masks);
}
