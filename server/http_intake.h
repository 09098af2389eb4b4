/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_intake.h - how a request comes in: head, gate, body, handler.
 *
 * Thread: loop. */
#pragma once

#include <microhttpd.h>

/* libmicrohttpd's access handler; context is the struct http_loop. It is called once with the head,
 * once for every piece of the body, and once when all is there. */
enum MHD_Result http_intake_handle(void *context, struct MHD_Connection *connection,
                                   const char *url, const char *method, const char *version,
                                   const char *upload_data, size_t *upload_bytes, void **request);
