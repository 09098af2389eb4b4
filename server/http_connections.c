/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_connections.c - a fixed pool of records and the limits of their states.
 *
 * Cutting a late connection is http_loop.c's. Thread: loop. */
#include "server/http_connections.h"

#include <stdlib.h>

#include "base/limits.h"

/* What the client sent before it left is in our hands by then; half a request stays half. */
enum { LEFT_MS = 500 };

enum error_code http_connections_init(struct http_connections *connections, uint32_t count_max,
                                      struct error *error)
{
    *connections = (struct http_connections){.count_max = count_max};
    connections->records = calloc(count_max, sizeof(*connections->records));
    if (connections->records == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "records of %u connections", count_max);
    }
    for (uint32_t index = count_max; index > 0; index--) {
        connections->records[index - 1].next = connections->free;
        connections->free = &connections->records[index - 1];
    }
    return ERROR_NONE;
}

void http_connections_deinit(struct http_connections *connections)
{
    free(connections->records);
    *connections = (struct http_connections){0};
}

struct http_connection *http_connections_acquire(struct http_connections *connections,
                                                 struct MHD_Connection *mhd, int fd,
                                                 uint64_t now_ms)
{
    struct http_connection *connection = connections->free;
    if (connection == NULL) {
        return NULL;
    }
    connections->free = connection->next;
    *connection = (struct http_connection){
        .next = connections->open, .mhd = mhd, .fd = fd, .since_ms = now_ms};
    if (connections->open != NULL) {
        connections->open->previous = connection;
    }
    connections->open = connection;
    connections->open_count++;
    return connection;
}

void http_connections_release(struct http_connections *connections,
                              struct http_connection *connection)
{
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        connections->open = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    *connection = (struct http_connection){.next = connections->free, .fd = -1};
    connections->free = connection;
    connections->open_count--;
}

void http_connection_enter(struct http_connection *connection, enum http_connection_state state,
                           uint64_t now_ms)
{
    connection->state = state;
    connection->since_ms = now_ms;
}

bool http_connection_is_late(const struct http_connection *connection, uint64_t now_ms)
{
    const uint64_t elapsed_ms = now_ms - connection->since_ms;
    if (connection->has_left && connection->state != HTTP_CONNECTION_BUSY) {
        return elapsed_ms > LEFT_MS && now_ms - connection->left_ms > LEFT_MS;
    }
    switch (connection->state) {
    case HTTP_CONNECTION_HEADER:
        return elapsed_ms > LIMIT_HEADER_MS;
    case HTTP_CONNECTION_BODY:
        return elapsed_ms > LIMIT_BODY_MS;
    case HTTP_CONNECTION_IDLE:
        return elapsed_ms > LIMIT_IDLE_MS;
    case HTTP_CONNECTION_BUSY:
        break;
    }
    return false;
}

uint32_t http_connections_busy_count(const struct http_connections *connections)
{
    uint32_t count = 0;
    for (const struct http_connection *connection = connections->open; connection != NULL;
         connection = connection->next) {
        count +=
            connection->state == HTTP_CONNECTION_BODY || connection->state == HTTP_CONNECTION_BUSY;
    }
    return count;
}
