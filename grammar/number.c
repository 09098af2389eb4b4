/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/number.c - a state is how far the digits so far lie from both bounds, and a remainder.
 *
 * The sign is read first; from then on only magnitudes are compared. Thread: any. */
#include "grammar/number.h"

#include "grammar/regex.h"

enum {
    INTEGER_DIGITS_MAX = 19,
    NUMBER_DIGITS_MAX = 15,
};

/* How the digits so far compare with the same number of digits of a bound. */
enum order { ORDER_LESS, ORDER_EQUAL, ORDER_GREATER };

enum part {
    PART_START,    /* Nothing read. */
    PART_SIGN,     /* "-" read. */
    PART_ZERO,     /* "0": no further digit before the point. */
    PART_WHOLE,    /* A digit but 0, and more. */
    PART_POINT,    /* Just read. */
    PART_FRACTION, /* At least one digit. */
};

/* What a state of the automaton stands for. */
struct reading {
    enum part part;
    bool negative;
    enum order low;     /* Against the smallest magnitude allowed, */
    enum order high;    /* and the largest. */
    uint32_t digits;    /* Read in all. */
    uint32_t fraction;  /* Of these after the point; 0 when nothing depends on it. */
    uint32_t remainder; /* Of the digits as an integer. */
};

/* The bounds of a magnitude; absent when there is none. */
struct magnitudes {
    struct number_bound low;
    struct number_bound high;
    bool empty;
};

struct number_builder {
    struct grammar_build *build;
    struct automaton_draft *draft;
    struct magnitudes positive;
    struct magnitudes negative;
    bool integer;
    uint32_t digits_max;
    uint32_t modulus;          /* 1: none. */
    uint32_t modulus_fraction; /* The multiple is modulus / 10^this. */
};

static uint64_t pack(const struct reading *reading)
{
    return (uint64_t)reading->part | (uint64_t)reading->negative << 3 |
           (uint64_t)reading->low << 4 | (uint64_t)reading->high << 6 |
           (uint64_t)reading->digits << 8 | (uint64_t)reading->fraction << 16 |
           (uint64_t)reading->remainder << 24;
}

static struct reading unpack(uint64_t key)
{
    return (struct reading){.part = (enum part)(key & 7),
                            .negative = (key >> 3 & 1) != 0,
                            .low = (enum order)(key >> 4 & 3),
                            .high = (enum order)(key >> 6 & 3),
                            .digits = (uint32_t)(key >> 8 & 0xff),
                            .fraction = (uint32_t)(key >> 16 & 0xff),
                            .remainder = (uint32_t)(key >> 24)};
}

static const struct magnitudes *bounds_of(const struct number_builder *builder,
                                          const struct reading *reading)
{
    return reading->negative ? &builder->negative : &builder->positive;
}

/* The order after one more digit before the point; `index` counts them from 0. */
static enum order compare_whole(enum order order, const struct number_bound *bound, uint32_t index,
                                uint8_t digit)
{
    if (!bound->present) {
        return ORDER_EQUAL;
    }
    if (index >= bound->value.whole_count) {
        return ORDER_GREATER;
    }
    const uint8_t other = bound->value.whole[index];
    if (order != ORDER_EQUAL || digit == other) {
        return order;
    }
    return digit < other ? ORDER_LESS : ORDER_GREATER;
}

/* The order once no digit before the point can follow. */
static enum order close_whole(enum order order, const struct number_bound *bound, uint32_t digits)
{
    return bound->present && digits < bound->value.whole_count ? ORDER_LESS : order;
}

static enum order compare_fraction(enum order order, const struct number_bound *bound,
                                   uint32_t index, uint8_t digit)
{
    if (!bound->present || order != ORDER_EQUAL) {
        return order;
    }
    const uint8_t other = index < bound->value.fraction_count ? bound->value.fraction[index] : 0;
    return digit == other ? ORDER_EQUAL : digit < other ? ORDER_LESS : ORDER_GREATER;
}

/* The order of the whole number, if it ended now. */
static enum order close_order(enum order order, const struct number_bound *bound,
                              const struct reading *reading)
{
    if (reading->part != PART_FRACTION) {
        order = close_whole(order, bound, reading->digits);
    }
    const uint32_t fraction = reading->part == PART_FRACTION ? reading->fraction : 0;
    const bool more = bound->present && bound->value.fraction_count > fraction;
    return order == ORDER_EQUAL && more ? ORDER_LESS : order;
}

static bool is_within(const struct number_builder *builder, const struct reading *reading)
{
    const struct magnitudes *bounds = bounds_of(builder, reading);
    const enum order low = close_order(reading->low, &bounds->low, reading);
    const enum order high = close_order(reading->high, &bounds->high, reading);
    if (bounds->low.present &&
        (low == ORDER_LESS || (low == ORDER_EQUAL && bounds->low.exclusive))) {
        return false;
    }
    if (bounds->high.present &&
        (high == ORDER_GREATER || (high == ORDER_EQUAL && bounds->high.exclusive))) {
        return false;
    }
    uint64_t remainder = reading->remainder;
    for (uint32_t left = reading->part == PART_FRACTION ? reading->fraction : 0;
         left < builder->modulus_fraction; left++) {
        remainder = remainder * 10 % builder->modulus;
    }
    return remainder == 0;
}

/* Makes readings equal that nothing can tell apart. */
static void simplify(const struct number_builder *builder, struct reading *reading)
{
    const struct magnitudes *bounds = bounds_of(builder, reading);
    if (reading->part < PART_ZERO) {
        return;
    }
    const bool tied = (bounds->low.present && reading->low == ORDER_EQUAL) ||
                      (bounds->high.present && reading->high == ORDER_EQUAL);
    if (reading->part == PART_FRACTION && !tied && builder->modulus == 1) {
        reading->fraction = 0;
    }
    if (!bounds->low.present && !bounds->high.present && !builder->positive.low.present &&
        !builder->positive.high.present) {
        reading->negative = false;
    }
}

static enum error_code add_edge(struct number_builder *builder, uint32_t state, char byte,
                                struct reading next)
{
    simplify(builder, &next);
    uint32_t target;
    const enum error_code code =
        automaton_draft_state(builder->build, builder->draft, pack(&next), &target);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct automaton_edge edge = {
        .target = target, .low = (uint8_t)byte, .high = (uint8_t)byte};
    return automaton_draft_edge(builder->build, builder->draft, state, edge);
}

static enum error_code add_whole_digit(struct number_builder *builder, uint32_t state,
                                       struct reading reading, uint8_t digit)
{
    const struct magnitudes *bounds = bounds_of(builder, &reading);
    const bool first = reading.part != PART_WHOLE;
    const uint32_t index = first ? 0 : reading.digits;
    reading.low = compare_whole(first ? ORDER_EQUAL : reading.low, &bounds->low, index, digit);
    reading.high = compare_whole(first ? ORDER_EQUAL : reading.high, &bounds->high, index, digit);
    reading.part = first && digit == 0 ? PART_ZERO : PART_WHOLE;
    reading.digits++;
    if (bounds->high.present && reading.high == ORDER_GREATER &&
        reading.digits >= bounds->high.value.whole_count) {
        return ERROR_NONE; /* Too large, whatever follows. */
    }
    reading.remainder = (uint32_t)(((uint64_t)reading.remainder * 10 + digit) % builder->modulus);
    return add_edge(builder, state, (char)('0' + digit), reading);
}

static enum error_code add_fraction_digit(struct number_builder *builder, uint32_t state,
                                          struct reading reading, uint8_t digit)
{
    const struct magnitudes *bounds = bounds_of(builder, &reading);
    const bool past = reading.fraction >= builder->modulus_fraction;
    if (builder->modulus > 1 && past && digit != 0) {
        return ERROR_NONE; /* A multiple has no such digit. */
    }
    reading.low = compare_fraction(reading.low, &bounds->low, reading.fraction, digit);
    reading.high = compare_fraction(reading.high, &bounds->high, reading.fraction, digit);
    reading.part = PART_FRACTION;
    reading.digits++;
    reading.fraction++;
    if (builder->modulus > 1 && !past) {
        reading.remainder =
            (uint32_t)(((uint64_t)reading.remainder * 10 + digit) % builder->modulus);
    }
    return add_edge(builder, state, (char)('0' + digit), reading);
}

static enum error_code expand_start(struct number_builder *builder, uint32_t state,
                                    struct reading reading)
{
    enum error_code code = ERROR_NONE;
    if (reading.part == PART_START && !builder->negative.empty) {
        code = add_edge(builder, state, '-', (struct reading){.part = PART_SIGN, .negative = true});
    }
    const bool empty =
        reading.part == PART_START ? builder->positive.empty : builder->negative.empty;
    for (uint8_t digit = 0; code == ERROR_NONE && !empty && digit < 10; digit++) {
        code = add_whole_digit(builder, state, reading, digit);
    }
    return code;
}

static enum error_code expand(struct number_builder *builder, uint32_t state)
{
    struct reading reading = unpack(builder->draft->keys[state]);
    if (reading.part == PART_START || reading.part == PART_SIGN) {
        return expand_start(builder, state, reading);
    }
    builder->draft->automaton.states[state].accepting =
        reading.part != PART_POINT && is_within(builder, &reading);
    enum error_code code = ERROR_NONE;
    const bool room = reading.digits < builder->digits_max;
    const bool in_whole = reading.part == PART_ZERO || reading.part == PART_WHOLE;
    if (in_whole && room && !builder->integer) {
        struct reading next = reading;
        const struct magnitudes *bounds = bounds_of(builder, &reading);
        next.part = PART_POINT;
        next.low = close_whole(reading.low, &bounds->low, reading.digits);
        next.high = close_whole(reading.high, &bounds->high, reading.digits);
        code = add_edge(builder, state, '.', next);
    }
    for (uint8_t digit = 0; code == ERROR_NONE && room && digit < 10; digit++) {
        if (reading.part == PART_WHOLE) {
            code = add_whole_digit(builder, state, reading, digit);
        } else if (!in_whole) {
            code = add_fraction_digit(builder, state, reading, digit);
        }
    }
    return code;
}

/* The bounds of -x, given those of x. */
static struct number_bound negated(struct number_bound bound)
{
    if (!decimal_is_zero(&bound.value)) {
        bound.value.negative = !bound.value.negative;
    }
    return bound;
}

/* What the bounds of x mean for |x|, when x is not negative. */
static struct magnitudes magnitudes_from(struct number_bound low, struct number_bound high)
{
    struct magnitudes magnitudes = {.low = low, .high = high};
    if (low.present && (low.value.negative || (decimal_is_zero(&low.value) && !low.exclusive))) {
        magnitudes.low.present = false;
    }
    magnitudes.empty = high.present && high.value.negative;
    return magnitudes;
}

static uint64_t common_divisor(uint64_t left, uint64_t right)
{
    while (right != 0) {
        const uint64_t rest = left % right;
        left = right;
        right = rest;
    }
    return left;
}

/* Brings the multiple into the form modulus / 10^fraction. */
static enum error_code set_multiple(struct number_builder *builder, const struct decimal *multiple)
{
    uint64_t modulus;
    if (!decimal_scaled(multiple, &modulus) || modulus == 0 || multiple->fraction_count > 18) {
        return grammar_build_fail(builder->build, ERROR_INVALID_ARGUMENT,
                                  "multipleOf is out of range");
    }
    uint32_t fraction = multiple->fraction_count;
    uint64_t power = 1;
    for (uint32_t index = 0; index < fraction; index++) {
        power *= 10;
    }
    /* An integer that is a multiple of p/q in lowest terms is one of p. */
    const uint64_t divisor = common_divisor(modulus, power);
    const uint64_t denominator = power / divisor;
    if ((denominator & (denominator - 1)) != 0) {
        return grammar_build_fail(builder->build, ERROR_INVALID_ARGUMENT,
                                  "multipleOf must be a whole number or a binary fraction such as "
                                  "0.5 or 0.25");
    }
    if (builder->integer) {
        modulus /= divisor;
        fraction = 0;
    }
    if (modulus > GRAMMAR_DRAFT_STATES_MAX) {
        return grammar_build_fail(builder->build, ERROR_INVALID_ARGUMENT,
                                  "multipleOf needs too many states");
    }
    builder->modulus = (uint32_t)modulus;
    builder->modulus_fraction = fraction;
    return ERROR_NONE;
}

enum error_code number_compile(struct grammar_build *build, const struct number_limits *limits,
                               struct automaton_draft *draft_out)
{
    if (!limits->low.present && !limits->high.present && !limits->has_multiple) {
        const struct text integer = TEXT("-?(0|[1-9]\\d{0,18})");
        const struct text number = TEXT("-?(0|[1-9]\\d{0,18})(\\.\\d{1,19})?([eE][+-]?\\d{1,2})?");
        return regex_compile(build, limits->integer ? integer : number, REGEX_MATCH_WHOLE,
                             draft_out);
    }
    *draft_out = (struct automaton_draft){0};
    struct number_builder builder = {
        .build = build,
        .draft = draft_out,
        .positive = magnitudes_from(limits->low, limits->high),
        .negative = magnitudes_from(negated(limits->high), negated(limits->low)),
        .integer = limits->integer,
        .digits_max = limits->integer ? INTEGER_DIGITS_MAX : NUMBER_DIGITS_MAX,
        .modulus = 1};
    enum error_code code = ERROR_NONE;
    if (limits->has_multiple) {
        code = set_multiple(&builder, &limits->multiple);
    }
    uint32_t start;
    if (code == ERROR_NONE) {
        code = automaton_draft_state(build, draft_out, pack(&(struct reading){0}), &start);
    }
    for (uint32_t state = 0; code == ERROR_NONE && state < draft_out->automaton.state_count;
         state++) {
        code = expand(&builder, state);
    }
    return code;
}
