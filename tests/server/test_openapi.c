/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a route, a field or a status that the document does not know, or knows wrongly.
 * Shown by: the document parsed, and compared with the tables it is made from. */
#include "server/openapi.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "openai_case.h"
#include "server/http_routes.h"
#include "server/openapi_schemas.h"

enum { DOCUMENT_BYTES = 256 * 1024 };

static struct openai_case server;
static char buffer[DOCUMENT_BYTES];
static cJSON *document;

static void write_document(bool needs_key)
{
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer) - 1);
    openapi_write(&server.options, needs_key, &writer);
    ck_assert(json_writer_fits(&writer));
    buffer[writer.len] = '\0';
    document = cJSON_Parse(buffer);
    ck_assert_ptr_nonnull(document);
}

static void setup(void)
{
    openai_case_open(&server);
    write_document(true);
}

static void teardown(void)
{
    cJSON_Delete(document);
    openai_case_close(&server);
}

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, name);
    ck_assert_msg(found != NULL, "no %s", name);
    return found;
}

static const cJSON *operation_of(const struct http_route *route)
{
    const cJSON *path = member(member(document, "paths"), route->path);
    return member(path, strcmp(route->method, "GET") == 0 ? "get" : "post");
}

START_TEST(openapi_describes_every_route)
{
    for (size_t index = 0; index < http_routes_count(); index++) {
        const struct http_route *route = http_routes_at(index);
        const cJSON *operation = operation_of(route);
        const cJSON *responses = member(operation, "responses");
        const bool posts = strcmp(route->method, "POST") == 0;
        member(responses, "200");
        member(responses, "401");
        member(responses, "405");
        ck_assert_msg(cJSON_HasObjectItem(responses, "413") == posts, "%s", route->path);
        ck_assert_msg(cJSON_HasObjectItem(operation, "requestBody") == posts, "%s", route->path);
        const int keys = cJSON_GetArraySize(member(operation, "security"));
        ck_assert_int_eq(keys, route->access == HTTP_ACCESS_KEY ? 1 : 0);
    }
}
END_TEST

START_TEST(openapi_asks_for_no_key_when_there_is_none)
{
    cJSON_Delete(document);
    write_document(false);
    for (size_t index = 0; index < http_routes_count(); index++) {
        const cJSON *security = member(operation_of(http_routes_at(index)), "security");
        ck_assert_int_eq(cJSON_GetArraySize(security), 0);
    }
}
END_TEST

/* Every "$ref" names a schema of the document. */
static void check_references(const cJSON *node, const cJSON *schemas)
{
    static const char prefix[] = "#/components/schemas/";
    if (node->string != NULL && strcmp(node->string, "$ref") == 0) {
        ck_assert(strncmp(node->valuestring, prefix, strlen(prefix)) == 0);
        member(schemas, node->valuestring + strlen(prefix));
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, node)
    {
        check_references(child, schemas);
    }
}

START_TEST(openapi_refers_only_to_what_it_has)
{
    const cJSON *schemas = member(member(document, "components"), "schemas");
    check_references(document, schemas);
    for (size_t index = 0; index < openapi_schemas_count(); index++) {
        ck_assert(cJSON_IsObject(member(schemas, openapi_schemas_at(index)->name)));
    }
}
END_TEST

START_TEST(openapi_tells_the_limits_of_this_server)
{
    const cJSON *schemas = member(member(document, "components"), "schemas");
    const cJSON *chat = member(member(schemas, "ChatRequest"), "properties");
    ck_assert_int_eq(member(member(chat, "max_tokens"), "maximum")->valueint, 1000);
    ck_assert_int_eq(member(member(chat, "max_tokens"), "default")->valueint, 100);
    ck_assert_int_eq(member(member(chat, "n"), "maximum")->valueint, 4);
    ck_assert_double_eq(member(member(chat, "temperature"), "default")->valuedouble, 0.7);
    const cJSON *token = member(schemas, "TokenId");
    ck_assert_int_eq(member(token, "maximum")->valueint, CASE_TOKEN_COUNT - 1);
    ck_assert_ptr_null(cJSON_GetObjectItemCaseSensitive(chat, "echo"));
    member(member(member(schemas, "CompletionRequest"), "properties"), "echo");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openapi");
    TCase *tests = tcase_create("openapi");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, openapi_describes_every_route);
    tcase_add_test(tests, openapi_asks_for_no_key_when_there_is_none);
    tcase_add_test(tests, openapi_refers_only_to_what_it_has);
    tcase_add_test(tests, openapi_tells_the_limits_of_this_server);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
