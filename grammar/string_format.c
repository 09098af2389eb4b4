/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/string_format.c - the table of formats.
 *
 * Thread: any. */
#include "grammar/string_format.h"

#include <stddef.h>

#include "grammar/grammar_build.h"

#define YEAR "(\\d{3}[1-9]|\\d\\d[1-9]\\d|\\d[1-9]\\d\\d|[1-9]\\d{3})"
#define LEAP_YEAR                                                                                  \
    "(\\d\\d(0[48]|[2468][048]|[13579][26])"                                                       \
    "|(0[48]|[2468][048]|[13579][26])00)"
#define DAY                                                                                        \
    "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])"                                                     \
    "|(0[469]|11)-(0[1-9]|[12]\\d|30)"                                                             \
    "|02-(0[1-9]|1\\d|2[0-8]))"
#define DATE "(" YEAR "-" DAY "|" LEAP_YEAR "-02-29)"
#define HOUR "([01]\\d|2[0-3])"
#define TIME HOUR ":[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]" HOUR ":[0-5]\\d)"

#define SECONDS "\\d{1,9}S"
#define MINUTES "\\d{1,9}M(" SECONDS ")?"
#define HOURS "\\d{1,9}H(" MINUTES ")?"
#define DURATION_TIME "T(" HOURS "|" MINUTES "|" SECONDS ")"
#define DAYS "\\d{1,9}D"
#define MONTHS "\\d{1,9}M(" DAYS ")?"
#define YEARS "\\d{1,9}Y(" MONTHS ")?"
#define DURATION                                                                                   \
    "P((" YEARS "|" MONTHS "|" DAYS ")(" DURATION_TIME ")?|" DURATION_TIME "|\\d{1,9}W)"

#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define LAST_LABEL "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOSTNAME "(" LABEL "\\.)*" LAST_LABEL
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define EMAIL ATEXT "(\\." ATEXT ")*@" HOSTNAME

#define BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 BYTE "\\." BYTE "\\." BYTE "\\." BYTE
#define HEX "[0-9A-Fa-f]"
#define GROUP HEX "{1,4}"
#define LAST_32 "(" GROUP ":" GROUP "|" IPV4 ")"
#define UP_TO(count) "((" GROUP ":){0," count "}" GROUP ")?::"
#define IPV6                                                                                       \
    "(" GROUP ":){6}" LAST_32 "|::(" GROUP ":){5}" LAST_32 "|(" GROUP ")?::(" GROUP                \
    ":){4}" LAST_32 "|" UP_TO("1") "(" GROUP ":){3}" LAST_32                                       \
                                   "|" UP_TO("2") "(" GROUP ":){2}" LAST_32 "|" UP_TO("3") GROUP   \
        ":" LAST_32 "|" UP_TO("4") LAST_32 "|" UP_TO("5") GROUP "|" UP_TO("6")

#define UUID HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}"

struct format {
    struct text name;
    struct text pattern;
    uint32_t length_max;
};

static const struct format formats[] = {
    {{"date", 4}, {DATE, sizeof(DATE) - 1}, GRAMMAR_NONE},
    {{"time", 4}, {TIME, sizeof(TIME) - 1}, GRAMMAR_NONE},
    {{"date-time", 9}, {DATE "T" TIME, sizeof(DATE "T" TIME) - 1}, GRAMMAR_NONE},
    {{"duration", 8}, {DURATION, sizeof(DURATION) - 1}, GRAMMAR_NONE},
    {{"email", 5}, {EMAIL, sizeof(EMAIL) - 1}, 254},
    {{"hostname", 8}, {HOSTNAME, sizeof(HOSTNAME) - 1}, 253},
    {{"ipv4", 4}, {IPV4, sizeof(IPV4) - 1}, GRAMMAR_NONE},
    {{"ipv6", 4}, {IPV6, sizeof(IPV6) - 1}, GRAMMAR_NONE},
    {{"uuid", 4}, {UUID, sizeof(UUID) - 1}, GRAMMAR_NONE},
};

struct text string_format_pattern(struct text name, uint32_t *length_max_out)
{
    for (size_t index = 0; index < sizeof(formats) / sizeof(formats[0]); index++) {
        if (text_equals(formats[index].name, name)) {
            *length_max_out = formats[index].length_max;
            return formats[index].pattern;
        }
    }
    return (struct text){0};
}
