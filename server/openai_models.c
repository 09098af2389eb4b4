/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_models.c - GET /v1/models and /v1/models/{id}: the one model that is served.
 *
 * Thread: loop. */
#include "base/json_writer.h"
#include "server/openai_error.h"
#include "server/openai_handlers.h"
#include "server/server_internal.h"

enum {
    BODY_BYTES = 4096, /* An id has at most 256 bytes, six each when escaped. */
    ID_BYTES = 1024,   /* A longer one in a path is no model's. */
};

static void write_model(const struct server_model *model, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "id", text_from(model->id));
    json_key_string(writer, "object", TEXT("model"));
    json_key_integer(writer, "created", model->created);
    json_key_string(writer, "owned_by", TEXT("skein"));
    json_key(writer, "meta");
    json_object_begin(writer);
    json_key(writer, "n_params");
    json_unsigned(writer, model->parameter_count);
    json_key_integer(writer, "n_vocab", model->token_count);
    json_key(writer, "state_bytes");
    json_unsigned(writer, model->state_bytes);
    json_object_end(writer);
    json_object_end(writer);
}

static void reply(struct http_exchange *exchange, const struct json_writer *writer)
{
    ASSERT(json_writer_fits(writer));
    http_exchange_reply(exchange, 200, "application/json",
                        (struct text){.bytes = writer->buffer, .len = writer->len});
}

void openai_models_list_handle(struct http_exchange *exchange)
{
    char buffer[BODY_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer));
    json_object_begin(&writer);
    json_key_string(&writer, "object", TEXT("list"));
    json_key(&writer, "data");
    json_array_begin(&writer);
    write_model(exchange->server->model, &writer);
    json_array_end(&writer);
    json_object_end(&writer);
    reply(exchange, &writer);
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    const char lower = (char)(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Resolves %XX (RFC 3986, 2.1), cut to the buffer; a % without digits stands for itself. */
static struct text decode_percent(struct text path, char buffer[ID_BYTES])
{
    size_t len = 0;
    for (size_t at = 0; at < path.len && len < ID_BYTES; at++) {
        char byte = path.bytes[at];
        if (byte == '%' && at + 2 < path.len) {
            const int high = hex_digit(path.bytes[at + 1]);
            const int low = hex_digit(path.bytes[at + 2]);
            if (high >= 0 && low >= 0) {
                byte = (char)(high * 16 + low);
                at += 2;
            }
        }
        buffer[len++] = byte;
    }
    return (struct text){.bytes = buffer, .len = len};
}

void openai_model_handle(struct http_exchange *exchange)
{
    const struct server_model *model = exchange->server->model;
    char decoded[ID_BYTES];
    const struct text id = decode_percent(text_from(exchange->path_tail), decoded);
    if (!text_equals(id, text_from(model->id))) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_MODEL_NOT_FOUND, "model",
                         "the model '%.*s' does not exist, this server has '%s'",
                         (int)(id.len < 128 ? id.len : 128), id.bytes, model->id);
        openai_error_reply(exchange, &error);
        return;
    }
    char buffer[BODY_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer));
    write_model(model, &writer);
    reply(exchange, &writer);
}
