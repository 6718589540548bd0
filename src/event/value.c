/* Values as people write them. Every reader takes the whole text or refuses it; numbers that would
 * overflow are refused. */
#include "event/value.h"
#include "event/time.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND_NS 1000000000LL
#define DIGITS_MAX 18 /* of a number: cannot overflow 63 bits */

/* Digits at *at: their number; false when there are none or too many. */
static bool read_digits(const char **at, int64_t *number)
{
    const char *p = *at;
    *number = 0;
    while (*p >= '0' && *p <= '9') {
        if (p - *at >= DIGITS_MAX) {
            return false;
        }
        *number = *number * 10 + (*p++ - '0');
    }
    bool any = p > *at;
    *at = p;
    return any;
}

static const struct unit {
    const char *name;
    int64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"ms", 1}, {"m", 60000}, {"s", 1000}, {NULL, 0}};

bool value_duration(const char *text, int64_t *ms)
{
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return true;
    }
    const char *p = text;
    int64_t sum = 0;
    do {
        int64_t number;
        if (!read_digits(&p, &number)) {
            return false;
        }
        const struct unit *unit = units;
        while (unit->name && strncmp(p, unit->name, strlen(unit->name)) != 0) {
            unit++;
        }
        if (!unit->name || __builtin_mul_overflow(number, unit->ms, &number) ||
            __builtin_add_overflow(sum, number, &sum)) {
            return false;
        }
        p += strlen(unit->name);
    } while (*p);
    *ms = sum;
    return true;
}

bool value_size(const char *text, int64_t *bytes)
{
    static const char letters[] = "kmgt";
    int64_t number;
    if (!read_digits(&text, &number)) {
        return false;
    }
    int64_t scale = 1;
    const char *letter = *text ? strchr(letters, tolower((unsigned char)*text)) : NULL;
    if (letter) {
        scale = 1LL << (10 * (letter - letters + 1));
        text++;
    }
    return *text == '\0' && !__builtin_mul_overflow(number, scale, bytes);
}

bool value_number(const char *text, int64_t *number)
{
    bool negative = *text == '-';
    text += negative;
    if (!read_digits(&text, number) || *text) {
        return false;
    }
    *number = negative ? -*number : *number;
    return true;
}

/* Two digits, and what must follow them. */
static bool read_two(const char **at, int max, int *out)
{
    const char *p = *at;
    if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1])) {
        return false;
    }
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    *at = p + 2;
    return *out <= max;
}

/* "HH:MM[:SS]" into tm. */
static bool read_clock(const char *text, struct tm *tm)
{
    if (!read_two(&text, 23, &tm->tm_hour) || *text++ != ':' || !read_two(&text, 59, &tm->tm_min)) {
        return false;
    }
    tm->tm_sec = 0;
    if (*text == ':') {
        text++;
        if (!read_two(&text, 60, &tm->tm_sec)) {
            return false;
        }
    }
    return *text == '\0';
}

/* Local time: a date, a time of today, or both. */
static bool read_local(const char *text, int64_t now_ns, int64_t *ns)
{
    time_t now = (time_t)(now_ns / SECOND_NS);
    struct tm tm;
    localtime_r(&now, &tm);
    tm.tm_isdst = -1;
    if (read_clock(text, &tm)) {
        *ns = (int64_t)mktime(&tm) * SECOND_NS;
        return true;
    }
    int century, year;
    if (!read_two(&text, 99, &century) || !read_two(&text, 99, &year) || *text++ != '-' ||
        !read_two(&text, 12, &tm.tm_mon) || *text++ != '-' || !read_two(&text, 31, &tm.tm_mday)) {
        return false;
    }
    tm.tm_year = century * 100 + year - 1900;
    tm.tm_mon--;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (*text == ' ' || *text == 'T') {
        if (!read_clock(text + 1, &tm)) {
            return false;
        }
    } else if (*text) {
        return false;
    }
    if (tm.tm_mon < 0 || tm.tm_mday == 0 || tm.tm_year < 1679 - 1900 || tm.tm_year > 2260 - 1900) {
        return false;
    }
    int month = tm.tm_mon;
    *ns = (int64_t)mktime(&tm) * SECOND_NS;
    return tm.tm_mon == month; /* else the month has no such day */
}

bool value_time(const char *text, int64_t now_ns, int64_t *ns)
{
    if (strcmp(text, "now") == 0) {
        *ns = now_ns;
        return true;
    }
    if (*text == '-' || *text == '+') {
        int64_t ms, distance;
        if (!value_duration(text + 1, &ms) || __builtin_mul_overflow(ms, 1000000, &distance)) {
            return false;
        }
        return *text == '-' ? !__builtin_sub_overflow(now_ns, distance, ns)
                            : !__builtin_add_overflow(now_ns, distance, ns);
    }
    return time_parse(beck_str(text), ns) || read_local(text, now_ns, ns);
}

bool value_from(const char *text, int64_t now_ns, beck_from *from)
{
    *from = (beck_from){0};
    if (strcmp(text, "now") == 0) {
        return true;
    }
    if (strcmp(text, "earliest") == 0) {
        from->kind = BECK_FROM_EARLIEST;
        return true;
    }
    if (value_number(text, &from->offset) && from->offset >= 0) {
        from->kind = BECK_FROM_OFFSET;
        return true;
    }
    from->offset = 0;
    int64_t ns;
    if (!value_time(text, now_ns, &ns)) {
        return false;
    }
    from->kind = BECK_FROM_TIME;
    from->time_ms = ns / 1000000;
    return true;
}

/* A duration of a list, up to the separator; *at moves behind it. */
static bool read_item(const char **at, const char *separator, int64_t *ms)
{
    char item[32];
    const char *end = strstr(*at, separator);
    size_t len = end ? (size_t)(end - *at) : strlen(*at);
    if (len >= sizeof item) {
        return false;
    }
    memcpy(item, *at, len);
    item[len] = '\0';
    *at = end ? end + strlen(separator) : *at + len;
    return value_duration(item, ms);
}

bool value_backoff(const char *text, beck_backoff *b)
{
    *b = (beck_backoff){0};
    if (strcmp(text, "none") == 0) {
        b->kind = BECK_BACKOFF_NONE;
        return true;
    }
    const char *at = strchr(text, ':');
    size_t len = at ? (size_t)(at - text) : 0;
    if (!at || !*++at) {
        return false;
    }
    if (len == 5 && strncmp(text, "fixed", len) == 0) {
        b->kind = BECK_BACKOFF_FIXED;
        return value_duration(at, &b->first_ms) && b->first_ms > 0;
    }
    if (len == 11 && strncmp(text, "exponential", len) == 0) {
        b->kind = BECK_BACKOFF_EXPONENTIAL;
        bool range = strstr(at, "..") != NULL;
        return read_item(&at, "..", &b->first_ms) && b->first_ms > 0 &&
               (!range || (value_duration(at, &b->max_ms) && b->max_ms >= b->first_ms));
    }
    if (len == 4 && strncmp(text, "list", len) == 0) {
        b->kind = BECK_BACKOFF_LIST;
        while (*at) {
            if (b->list_count == 16 || !read_item(&at, ",", &b->list_ms[b->list_count++])) {
                return false;
            }
        }
        return true;
    }
    return false;
}

void value_duration_text(int64_t ms, char out[VALUE_TEXT_MAX])
{
    if (ms <= 0) {
        snprintf(out, VALUE_TEXT_MAX, "%s", ms < 0 ? "never" : "0s");
        return;
    }
    static const struct unit falling[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                          {"s", 1000},     {"ms", 1},      {NULL, 0}};
    int len = 0;
    for (const struct unit *unit = falling; unit->name; unit++) {
        if (ms >= unit->ms) {
            len += snprintf(out + len, (size_t)(VALUE_TEXT_MAX - len), "%lld%s",
                            (long long)(ms / unit->ms), unit->name);
            ms %= unit->ms;
        }
    }
}

void value_size_text(int64_t bytes, char out[VALUE_TEXT_MAX])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double amount = (double)bytes;
    size_t i = 0;
    while (amount >= 1023.95 && i < 5) {
        amount /= 1024;
        i++;
    }
    snprintf(out, VALUE_TEXT_MAX, i == 0 ? "%.0f %s" : "%.1f %s", amount, names[i]);
}

void value_number_text(int64_t number, char out[VALUE_TEXT_MAX])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)number);
    int at = 0;
    for (int i = 0; i < len; i++) {
        out[at++] = digits[i];
        if (digits[i] != '-' && i + 1 < len && (len - i - 1) % 3 == 0) {
            out[at++] = ',';
        }
    }
    out[at] = '\0';
}

void value_time_text(int64_t ns, int64_t now_ns, char out[VALUE_TEXT_MAX])
{
    int64_t whole = ns / SECOND_NS - (ns % SECOND_NS < 0);
    time_t then = (time_t)whole, now = (time_t)(now_ns / SECOND_NS);
    struct tm a, b;
    localtime_r(&then, &a);
    localtime_r(&now, &b);
    int ms = (int)((ns - whole * SECOND_NS) / 1000000);
    if (a.tm_year == b.tm_year && a.tm_yday == b.tm_yday) {
        snprintf(out, VALUE_TEXT_MAX, "%02d:%02d:%02d.%03d", a.tm_hour, a.tm_min, a.tm_sec, ms);
    } else {
        snprintf(out, VALUE_TEXT_MAX, "%04d-%02d-%02d %02d:%02d:%02d", a.tm_year + 1900,
                 a.tm_mon + 1, a.tm_mday, a.tm_hour, a.tm_min, a.tm_sec);
    }
}

beck_status value_backoff_text(const beck_backoff *b, struct buf *out)
{
    char first[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
    value_duration_text(b->first_ms, first);
    value_duration_text(b->max_ms, max);
    beck_status status = BECK_OK;
    switch (b->kind) {
    case BECK_BACKOFF_NONE:
        return buf_append_text(out, "none");
    case BECK_BACKOFF_FIXED:
        return buf_printf(out, "fixed:%s", first);
    case BECK_BACKOFF_LIST:
        for (uint32_t i = 0; i < b->list_count && !status; i++) {
            value_duration_text(b->list_ms[i], first);
            status = buf_printf(out, "%s%s", i ? "," : "list:", first);
        }
        return status;
    case BECK_BACKOFF_DEFAULT:
    case BECK_BACKOFF_EXPONENTIAL:
        break;
    }
    return buf_printf(out, "exponential:%s..%s", first, max);
}
