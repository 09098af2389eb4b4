/* SPDX-License-Identifier: Apache-2.0
 *
 * base/mailbox.h - bounded queue of variable-length messages between two threads.
 *
 * A byte ring behind one lock; the lock protects the ring's ends and is never held while a wake-up
 * or a receiver's callback runs. Messages arrive whole and in order. One receiver. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct mailbox;

/* Called on the sender's thread after a post to an empty mailbox. May be NULL: the receiver then
 * waits with mailbox_wait. Must be cheap (uv_async_send). */
typedef void mailbox_wake(void *context);

/* bytes_max: capacity of the ring, rounded up to a power of two; a message costs its bytes + 8,
 * rounded up to 8. ERROR_OUT_OF_MEMORY. */
WARN_UNUSED enum error_code mailbox_create(size_t bytes_max, mailbox_wake *wake, void *context,
                                           struct mailbox **mailbox_out, struct error *error);
void mailbox_destroy(struct mailbox *mailbox);

/* Copies the message in; false when it does not fit now. Thread: any. */
bool mailbox_post(struct mailbox *mailbox, const void *message, size_t bytes);

/* As mailbox_post for a message in two pieces, joined without a gap (header and text). */
bool mailbox_post_pair(struct mailbox *mailbox, const void *head, size_t head_bytes,
                       const void *tail, size_t tail_bytes);

/* Bytes that can be posted now, the cost of one message already taken off. Only the one sender can
 * rely on it: the receiver only makes it larger. */
size_t mailbox_space(const struct mailbox *mailbox);

/* Copies out the oldest message; returns its bytes, 0 when the mailbox is empty. The buffer must
 * hold the largest message ever posted. Thread: the receiver. */
size_t mailbox_take(struct mailbox *mailbox, void *buffer, size_t capacity);

/* Sleeps until the mailbox is not empty or the time has passed; UINT64_MAX: no limit. */
void mailbox_wait(struct mailbox *mailbox, uint64_t timeout_ns);
