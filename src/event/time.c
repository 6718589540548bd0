/*
 * RFC 3339 timestamps.
 *
 * Days are counted in years that begin on the 1st of March, so that the leap day is the last of its
 * year and the months before it have fixed lengths: (153 * month + 2) / 5 days come before a month
 * counted from March.
 */
#include "event/time.h"

#define NS_PER_S 1000000000LL
#define DAY_S 86400LL
#define YEAR_MIN 1678
#define YEAR_MAX 2261
/* From 0000-03-01 to 1970-01-01. */
#define EPOCH_DAYS 719468

static int64_t days_before(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - EPOCH_DAYS;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* A number of exactly `digits` digits at p; -1: there is none. */
static int number_at(const uint8_t *p, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        unsigned digit = (unsigned)p[i] - '0';
        if (digit > 9) {
            return -1;
        }
        value = value * 10 + (int)digit;
    }
    return value;
}

/* The offset from UTC in seconds at the end of the text: "Z" or "+hh:mm". */
static bool offset_read(const uint8_t *p, const uint8_t *end, int64_t *offset_s)
{
    if (end - p == 1 && (*p == 'Z' || *p == 'z')) {
        *offset_s = 0;
        return true;
    }
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':') {
        return false;
    }
    int hour = number_at(p + 1, 2);
    int minute = number_at(p + 4, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) {
        return false;
    }
    *offset_s = (hour * 60 + minute) * 60 * (*p == '-' ? -1 : 1);
    return true;
}

/* The fraction behind p, when there is one, in nanoseconds. */
static bool fraction_read(const uint8_t **p, const uint8_t *end, int64_t *ns)
{
    *ns = 0;
    if (*p == end || **p != '.') {
        return true;
    }
    int64_t unit = NS_PER_S;
    for (++*p; *p < end && (unsigned)(**p - '0') <= 9; ++*p) {
        unit /= 10;
        if (unit == 0) {
            return false;
        }
        *ns += (**p - '0') * unit;
    }
    return unit < NS_PER_S;
}

bool time_parse(beck_bytes text, int64_t *ns)
{
    if (text.len < 20) {
        return false;
    }
    const uint8_t *p = text.data;
    const uint8_t *end = p + text.len;
    if (p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != 't') || p[13] != ':' ||
        p[16] != ':') {
        return false;
    }
    int year = number_at(p, 4);
    int month = number_at(p + 5, 2);
    int day = number_at(p + 8, 2);
    int hour = number_at(p + 11, 2);
    int minute = number_at(p + 14, 2);
    int second = number_at(p + 17, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
        hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return false;
    }
    int64_t fraction_ns = 0;
    int64_t offset_s = 0;
    p += 19;
    if (!fraction_read(&p, end, &fraction_ns) || !offset_read(p, end, &offset_s)) {
        return false;
    }
    bool leap = second == 60;
    int64_t seconds = days_before(year, month, day) * DAY_S + hour * 3600 + minute * 60 +
                      (leap ? 59 : second) - offset_s;
    if (leap && (seconds % DAY_S + DAY_S) % DAY_S != DAY_S - 1) {
        return false; /* only the last second of a UTC day can be followed by a leap second */
    }
    if (seconds < days_before(YEAR_MIN, 1, 1) * DAY_S ||
        seconds >= days_before(YEAR_MAX + 1, 1, 1) * DAY_S) {
        return false;
    }
    *ns = seconds * NS_PER_S + (leap ? NS_PER_S - 1 : fraction_ns);
    return true;
}

static char *digits_put(char *p, int64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        p[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return p + digits;
}

/* Calendar date of a day counted from 1970-01-01. */
static void date_of(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    days += EPOCH_DAYS;
    /* A year too late at most: 365.2425 days is the mean, and the remainder is corrected below. */
    int64_t y = (days * 10000 + 14780) / 3652425;
    int64_t rest = days - (365 * y + y / 4 - y / 100 + y / 400);
    if (rest < 0) {
        y--;
        rest = days - (365 * y + y / 4 - y / 100 + y / 400);
    }
    int64_t m = (5 * rest + 2) / 153;
    *day = rest - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = m < 10 ? y : y + 1;
}

size_t time_format(int64_t ns, char out[TIME_TEXT_MAX])
{
    int64_t fraction = ns % NS_PER_S;
    int64_t seconds = ns / NS_PER_S;
    if (fraction < 0) {
        fraction += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / DAY_S;
    int64_t rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    int64_t year, month, day;
    date_of(days, &year, &month, &day);
    char *p = digits_put(out, year, 4);
    *p++ = '-';
    p = digits_put(p, month, 2);
    *p++ = '-';
    p = digits_put(p, day, 2);
    *p++ = 'T';
    p = digits_put(p, rest / 3600, 2);
    *p++ = ':';
    p = digits_put(p, rest / 60 % 60, 2);
    *p++ = ':';
    p = digits_put(p, rest % 60, 2);
    if (fraction != 0) {
        *p++ = '.';
        if (fraction % 1000000 == 0) {
            p = digits_put(p, fraction / 1000000, 3);
        } else if (fraction % 1000 == 0) {
            p = digits_put(p, fraction / 1000, 6);
        } else {
            p = digits_put(p, fraction, 9);
        }
    }
    *p++ = 'Z';
    *p = 0;
    return (size_t)(p - out);
}
