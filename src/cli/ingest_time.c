/* What is written in any of the usual ways is brought into the form of RFC 3339, and read as that. */
#include "cli/ingest_time.h"
#include "event/time.h"
#include <stdio.h>
#include <time.h>

#define SECOND_NS 1000000000LL
#define TEXT_MAX 48

const char *ingest_time_expected(enum ingest_time_format format)
{
    static const char *const expected[] = {
        [INGEST_AUTO] = ("2026-01-31, \"2026-01-31 14:30:00\", 2026-01-31T14:30:00Z, or seconds or "
                         "milliseconds since 1970"),
        [INGEST_RFC3339] = "an RFC 3339 time such as 2026-01-31T14:30:00Z",
        [INGEST_UNIX] = "seconds since 1970",
        [INGEST_UNIXMS] = "milliseconds since 1970"};
    return expected[format];
}

bool ingest_time_zone(const char *text, struct ingest_time *out)
{
    char time[TEXT_MAX];
    int64_t ns = 0;
    out->local = strcmp(text, "local") == 0;
    out->offset_ns = 0;
    if (out->local || strcmp(text, "utc") == 0) {
        return true;
    }
    int len = snprintf(time, sizeof time, "1970-01-01T00:00:00%s", text);
    bool good = (*text == '+' || *text == '-') && len < TEXT_MAX && time_parse(beck_str(time), &ns);
    out->offset_ns = -ns;
    return good;
}

/* ---- numbers ---- */

static bool unix_time(beck_bytes text, int64_t unit_ns, int64_t *ns)
{
    const char *p = text.data;
    bool negative = text.len > 0 && *p == '-';
    size_t at = negative, digits = 0;
    int64_t value = 0;
    for (; at < text.len && p[at] >= '0' && p[at] <= '9'; at++, digits++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, p[at] - '0', &value)) {
            return false;
        }
    }
    if (digits == 0 || __builtin_mul_overflow(value, unit_ns, &value)) {
        return false;
    }
    if (at < text.len && p[at] == '.') {
        for (at++; at < text.len && p[at] >= '0' && p[at] <= '9'; at++) {
            unit_ns /= 10;
            if (__builtin_add_overflow(value, (p[at] - '0') * unit_ns, &value)) {
                return false;
            }
        }
    }
    *ns = negative ? -value : value;
    return at == text.len;
}

/* Fewer digits may be anything: 20260131 is a date. */
static bool number_of_any_unit(beck_bytes text, int64_t *ns)
{
    const char *p = text.data;
    size_t digits = 0;
    while (digits < text.len && p[digits] >= '0' && p[digits] <= '9') {
        digits++;
    }
    bool seconds = digits == 9 || digits == 10, milliseconds = digits == 12 || digits == 13;
    return (seconds || milliseconds) && unix_time(text, seconds ? SECOND_NS : 1000000, ns);
}

/* ---- dates ---- */

/* A time that was read as UTC, but is local. */
static bool from_local(int64_t *ns)
{
    int64_t part = (*ns % SECOND_NS + SECOND_NS) % SECOND_NS;
    time_t seconds = (time_t)((*ns - part) / SECOND_NS);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm)) {
        return false;
    }
    tm.tm_isdst = -1;
    return !__builtin_mul_overflow((int64_t)mktime(&tm), SECOND_NS, ns) &&
           !__builtin_add_overflow(*ns, part, ns);
}

static size_t span(beck_bytes text, size_t at, const char *of)
{
    const char *p = text.data;
    size_t n = 0;
    while (at + n < text.len && p[at + n] && strchr(of, p[at + n])) {
        n++;
    }
    return n;
}

/* The zone at the end of a text, as RFC 3339 has it; "": there is none. False: it is no zone. */
static bool write_zone(beck_bytes zone, char out[8])
{
    const char *p = zone.data;
    *out = 0;
    if (zone.len == 0) {
        return true;
    }
    bool utc = bytes_equal_text(zone, "Z") || bytes_equal_text(zone, "z") ||
               bytes_equal_text(zone, "UTC") || bytes_equal_text(zone, "GMT");
    bool minutes = zone.len == 5 || (zone.len == 6 && p[3] == ':');
    if (!utc && (zone.len < 3 || (*p != '+' && *p != '-') || (zone.len != 3 && !minutes))) {
        return false;
    }
    snprintf(out, 8, utc ? "Z" : "%.3s:%.2s", p, minutes ? p + zone.len - 2 : "00");
    return true;
}

static bool date_time(const struct ingest_time *t, beck_bytes text, int64_t *ns)
{
    const char *p = text.data;
    size_t clock_at = text.len > 10 && strchr("Tt ", p[10]) && p[10] ? 11 : 10;
    size_t clock_len = clock_at == 11 ? span(text, 11, "0123456789:.") : 0;
    if (text.len < 10 || (clock_at == 11 && clock_len < 5) || clock_len > 18) {
        return false;
    }
    size_t zone_at = clock_at + clock_len;
    zone_at += zone_at < text.len && p[zone_at] == ' ';
    char zone[8], whole[TEXT_MAX];
    if (!write_zone(bytes_of(p + zone_at, text.len - zone_at), zone)) {
        return false;
    }
    snprintf(whole, sizeof whole, "%.10sT%.*s%s%s", p, (int)clock_len, p + clock_at,
             clock_len == 0   ? "00:00:00"
             : clock_len == 5 ? ":00"
                              : "",
             *zone ? zone : "Z");
    if (!time_parse(beck_str(whole), ns)) {
        return false;
    }
    if (!*zone && t->local) {
        return from_local(ns);
    }
    return *zone || !__builtin_sub_overflow(*ns, t->offset_ns, ns);
}

bool ingest_time_read(const struct ingest_time *t, beck_bytes text, int64_t *ns)
{
    switch (t->format) {
    case INGEST_AUTO:
        return number_of_any_unit(text, ns) || date_time(t, text, ns);
    case INGEST_RFC3339:
        return time_parse(text, ns);
    default:
        return unix_time(text, t->format == INGEST_UNIX ? SECOND_NS : 1000000, ns);
    }
}
