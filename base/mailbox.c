/* SPDX-License-Identifier: Apache-2.0
 *
 * base/mailbox.c - a byte ring, one lock, one condition variable.
 *
 *   ring:  [bytes:8][message, padded to 8] [bytes:8][message, padded to 8] ...
 *          ^ taken                                                         ^ posted
 *
 * Positions grow until the ring is empty, then start at 0 again; their remainder by the capacity is
 * the place in the ring. Every position is a multiple of 8, so the 8 bytes before a message never
 * wrap; the message itself may.
 * Thread: see the header. */
#include "base/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PREFIX_BYTES = sizeof(uint64_t),
    CAPACITY_MIN_BYTES = 64,
};

struct mailbox {
    /* Protects posted and taken, and the bytes between them. Neither wake nor anything else of the
     * program's is called while it is held. */
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    uint64_t posted;
    uint64_t taken;

    mailbox_wake *wake;
    void *context;
    size_t capacity; /* A power of two. */
    unsigned char *ring;
};

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

enum error_code mailbox_create(size_t bytes_max, mailbox_wake *wake, void *context,
                               struct mailbox **mailbox_out, struct error *error)
{
    *mailbox_out = NULL;
    size_t capacity = CAPACITY_MIN_BYTES;
    while (capacity < bytes_max && capacity <= SIZE_MAX / 4) {
        capacity *= 2;
    }
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    unsigned char *ring = capacity < bytes_max ? NULL : malloc(capacity);
    if (mailbox == NULL || ring == NULL) {
        free(ring);
        free(mailbox);
        return error_set(error, ERROR_OUT_OF_MEMORY, "mailbox of %zu bytes", bytes_max);
    }
    pthread_mutex_init(&mailbox->lock, NULL);
    init_condition(&mailbox->not_empty);
    mailbox->wake = wake;
    mailbox->context = context;
    mailbox->capacity = capacity;
    mailbox->ring = ring;
    *mailbox_out = mailbox;
    return ERROR_NONE;
}

void mailbox_destroy(struct mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    pthread_cond_destroy(&mailbox->not_empty);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox->ring);
    free(mailbox);
}

/* Copies into the ring at a position, in two parts where the ring's end lies between. */
static void ring_write(struct mailbox *mailbox, uint64_t position, const void *from, size_t bytes)
{
    const size_t start = (size_t)position & (mailbox->capacity - 1);
    const size_t until_end = mailbox->capacity - start;
    const size_t first = bytes < until_end ? bytes : until_end;
    if (bytes > 0) {
        memcpy(mailbox->ring + start, from, first);
        memcpy(mailbox->ring, (const unsigned char *)from + first, bytes - first);
    }
}

static void ring_read(const struct mailbox *mailbox, uint64_t position, void *to, size_t bytes)
{
    const size_t start = (size_t)position & (mailbox->capacity - 1);
    const size_t until_end = mailbox->capacity - start;
    const size_t first = bytes < until_end ? bytes : until_end;
    memcpy(to, mailbox->ring + start, first);
    memcpy((unsigned char *)to + first, mailbox->ring, bytes - first);
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static size_t free_bytes(const struct mailbox *mailbox)
{
    return mailbox->capacity - (size_t)(mailbox->posted - mailbox->taken);
}

bool mailbox_post(struct mailbox *mailbox, const void *message, size_t bytes)
{
    return mailbox_post_pair(mailbox, message, bytes, NULL, 0);
}

bool mailbox_post_pair(struct mailbox *mailbox, const void *head, size_t head_bytes,
                       const void *tail, size_t tail_bytes)
{
    if (head_bytes > mailbox->capacity || tail_bytes > mailbox->capacity) {
        return false;
    }
    const uint64_t bytes = (uint64_t)head_bytes + tail_bytes;
    ASSERT_COMPARE(bytes, >=, 1); /* mailbox_take returns 0 for "empty". */
    const uint64_t cost = PREFIX_BYTES + padded(bytes);

    pthread_mutex_lock(&mailbox->lock);
    const bool fits = cost <= free_bytes(mailbox);
    const bool was_empty = mailbox->posted == mailbox->taken;
    if (fits) {
        ring_write(mailbox, mailbox->posted, &bytes, PREFIX_BYTES);
        ring_write(mailbox, mailbox->posted + PREFIX_BYTES, head, head_bytes);
        ring_write(mailbox, mailbox->posted + PREFIX_BYTES + head_bytes, tail, tail_bytes);
        mailbox->posted += cost;
        if (was_empty) {
            pthread_cond_signal(&mailbox->not_empty);
        }
    }
    pthread_mutex_unlock(&mailbox->lock);

    /* The receiver takes until the mailbox is empty, so only the first message must wake it. */
    if (fits && was_empty && mailbox->wake != NULL) {
        mailbox->wake(mailbox->context);
    }
    return fits;
}

size_t mailbox_space(const struct mailbox *mailbox)
{
    /* The lock changes, what the caller knows as the mailbox does not. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&mailbox->lock;
    pthread_mutex_lock(lock);
    const size_t bytes = free_bytes(mailbox);
    pthread_mutex_unlock(lock);
    return bytes > PREFIX_BYTES ? bytes - PREFIX_BYTES : 0;
}

size_t mailbox_take(struct mailbox *mailbox, void *buffer, size_t capacity)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&mailbox->lock);
    if (mailbox->posted != mailbox->taken) {
        ring_read(mailbox, mailbox->taken, &bytes, PREFIX_BYTES);
        ASSERT_COMPARE(bytes, <=, capacity);
        ring_read(mailbox, mailbox->taken + PREFIX_BYTES, buffer, (size_t)bytes);
        mailbox->taken += PREFIX_BYTES + padded(bytes);
        if (mailbox->taken == mailbox->posted) {
            /* Empty: begin at the front again, so that a ring sized for the worst case touches
             * only the memory that it needs. */
            mailbox->taken = 0;
            mailbox->posted = 0;
        }
    }
    pthread_mutex_unlock(&mailbox->lock);
    return (size_t)bytes;
}

/* The monotonic time that far from now; far enough when the sum would not fit. */
static struct timespec deadline_after(uint64_t timeout_ns)
{
    const uint64_t second_ns = 1000000000u;
    const uint64_t timeout_max_ns = second_ns * 1000000000u; /* 31 years. */
    const uint64_t bounded_ns = timeout_ns < timeout_max_ns ? timeout_ns : timeout_max_ns;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    const uint64_t nanoseconds = (uint64_t)deadline.tv_nsec + bounded_ns % second_ns;
    deadline.tv_sec += (time_t)(bounded_ns / second_ns + nanoseconds / second_ns);
    deadline.tv_nsec = (int32_t)(nanoseconds % second_ns);
    return deadline;
}

void mailbox_wait(struct mailbox *mailbox, uint64_t timeout_ns)
{
    const struct timespec deadline = deadline_after(timeout_ns);
    int result = 0;
    pthread_mutex_lock(&mailbox->lock);
    while (mailbox->posted == mailbox->taken && result == 0) {
        result = timeout_ns == UINT64_MAX
                     ? pthread_cond_wait(&mailbox->not_empty, &mailbox->lock)
                     : pthread_cond_timedwait(&mailbox->not_empty, &mailbox->lock, &deadline);
    }
    pthread_mutex_unlock(&mailbox->lock);
}
