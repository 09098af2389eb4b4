/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_step.h - one byte: from one thread of a state to those after it.
 *
 * Inside grammar/ only. A state is a small set of threads. Each is a place in the program and a
 * frame; frames are what is open around it (arrays, objects, sequences), linked to their parents,
 * shared by all threads and never changed, so that equal stacks are one number and alternatives
 * that meet again become one thread. Thread: that of the state. */
#pragma once

#include "grammar/grammar_program.h"

enum {
    STEP_THREADS_MAX = GRAMMAR_ALTERNATIVES_MAX, /* Further readings are given up. */
    STEP_FRAMES_MAX = 1024,
    STEP_FRAME_HEADS = 512,
    STEP_BOTTOM = 0, /* The frame around everything. */
};

enum step_phase {
    STEP_START,       /* Before `node`, of any kind but a JSON value. */
    STEP_BYTES,       /* In a BYTES node, at automaton `state`. */
    STEP_VALUE,       /* Before the JSON value `node`; `run` white space so far, as below. */
    STEP_STRING,      /* In a JSON string. */
    STEP_ARRAY_OPEN,  /* After "[". */
    STEP_ARRAY_NEXT,  /* After an item. */
    STEP_OBJECT_OPEN, /* After "{". */
    STEP_OBJECT_KEY,  /* After "," in an object. */
    STEP_KEY,         /* In the name of a property. */
    STEP_COLON,       /* After the name of the property with the value `node`. */
    STEP_OBJECT_NEXT, /* After a property. */
    STEP_DONE,        /* After everything. */
};

/* Where in a JSON string. */
enum step_lex {
    STEP_LEX_BODY,
    STEP_LEX_ESCAPE,     /* After a backslash. */
    STEP_LEX_HEX,        /* After \u and `run` digits: `escape`. */
    STEP_LEX_LOW_ESCAPE, /* After a high surrogate: the upper half of `escape`. */
    STEP_LEX_LOW_U,      /* After that and a backslash. */
    STEP_LEX_LOW_HEX,    /* After \u and `run` digits: the lower half of `escape`. */
};

/* Compared as bytes: no padding, and what a phase does not use is 0. */
struct step_thread {
    uint32_t frame;
    uint32_t node;
    uint32_t state;
    uint32_t count; /* Code points of a string, as far as its limits need them. */
    uint32_t escape;
    uint8_t phase;
    uint8_t lex;
    uint8_t run;
    uint8_t unused;
};

struct step_frame {
    uint64_t seen;   /* OBJECT: bit set of properties; if ordered, position of the next one. */
    uint32_t parent; /* A lower number. */
    uint32_t node;
    uint32_t count; /* ARRAY, REPEAT: items so far, as far as needed. SEQUENCE: the part in work. */
    uint16_t depth; /* Containers up to and with this one. */
    uint16_t unused;
    uint32_t next; /* In the chain of its hash; GRAMMAR_NONE: last. */
    uint32_t unused_too;
};

/* frames[0] is the bottom. */
struct step_frames {
    uint32_t count;
    uint32_t heads[STEP_FRAME_HEADS];
    struct step_frame frames[STEP_FRAMES_MAX];
};

/* Threads being collected, all different. */
struct step_set {
    struct step_thread *threads; /* [capacity] */
    uint32_t count;
    uint32_t capacity;
};

void grammar_step_frames_init(struct step_frames *frames);

/* Forgets all frames from `count` on. */
void grammar_step_frames_cut(struct step_frames *frames, uint32_t count);

/* Forgets the frames that no thread needs, and renumbers the others in threads[count]. */
void grammar_step_frames_compact(struct step_frames *frames, struct step_thread *threads,
                                 uint32_t count);

/* Adds the threads that `thread` becomes by one byte; none, if it does not fit. */
void grammar_step_byte(const struct grammar_program *program, struct step_frames *frames,
                       const struct step_thread *thread, unsigned char byte,
                       struct step_set *set_out);

/* The same for the most frequent case, in place: within a text or the body of a string, by a byte
 * that stays there. */
enum step_within {
    STEP_WITHIN_TAKEN,   /* *thread is what it became, its only one. */
    STEP_WITHIN_REFUSED, /* The byte does not fit. */
    STEP_WITHIN_UNKNOWN, /* Another case: ask grammar_step_byte. */
};
enum step_within grammar_step_within(const struct grammar_program *program,
                                     struct step_thread *thread, unsigned char byte);

/* Whether the text may end at this thread. */
bool grammar_step_is_complete(const struct grammar_program *program, struct step_frames *frames,
                              const struct step_thread *thread);
