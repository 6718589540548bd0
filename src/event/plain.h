/*
 * The glance that is enough for most events, inlined into a publish: texts are short and printable
 * ASCII. What is not so plain is checked by event.c.
 */
#ifndef BECK_EVENT_PLAIN_H
#define BECK_EVENT_PLAIN_H

#include "event/event.h"

/* Up to 8 bytes from the end of a text, the first of them lowest; what is missing is 'a'. */
static inline uint64_t plain_load_tail(const uint8_t *p, size_t len, size_t at)
{
    const uint64_t filler = 0x6161616161616161ULL;
    size_t left = len - at;
    if (left == 8) {
        return load_u64(p + at);
    }
    if (len >= 8) {
        return load_u64(p + len - 8) >> (8 * (8 - left)) | filler << (8 * left);
    }
    /* at is 0: a text of less than eight bytes, by loads that overlap. */
    uint64_t v = filler << (8 * left);
    if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + len - 4, 4);
        return v | first | (uint64_t)last >> (8 * (8 - len)) << 32;
    }
    return v | p[0] | (uint64_t)p[len / 2] << (8 * (len / 2)) |
           (uint64_t)p[len - 1] << (8 * (len - 1));
}

/* The bytes of a text of less than eight, some of them twice, and 'a' for what is missing. */
static inline uint64_t plain_load_short(const uint8_t *p, size_t len)
{
    if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + len - 4, 4);
        return first | (uint64_t)last << 32;
    }
    const uint64_t filler = 0x6161616161000000ULL;
    return len == 0 ? filler | 0x616161
                    : filler | p[0] | (uint64_t)p[len / 2] << 8 | (uint64_t)p[len - 1] << 16;
}

#define PLAIN_EACH_BYTE(b) (0x0101010101010101ULL * (uint8_t)(b))

/* The high bit of each byte that is not printable ASCII; bytes above the first such may be wrong. */
static inline uint64_t plain_odd_bytes(uint64_t v)
{
    return (v | (v - PLAIN_EACH_BYTE(0x20)) | ((v ^ PLAIN_EACH_BYTE(0x7F)) - PLAIN_EACH_BYTE(1))) &
           PLAIN_EACH_BYTE(0x80);
}

/* Whether the text is short and printable ASCII: what nearly all are, and the full check is not needed for. */
static inline bool plain_text(beck_bytes text, size_t max)
{
    const uint8_t *p = text.data;
    size_t len = text.len;
    if (len < 8) {
        return plain_odd_bytes(plain_load_short(p, len)) == 0;
    }
    if (len > max) {
        return false;
    }
    uint64_t odd = plain_odd_bytes(load_u64(p + len - 8));
    for (size_t at = 0; at < len - 8; at += 8) {
        odd |= plain_odd_bytes(load_u64(p + at));
    }
    return odd == 0;
}

/* Whether of what an event may have it has a type, data, a time and a subject at most. */
static inline bool plain_attributes(const beck_event *e)
{
    uint64_t rare = e->source.len | e->id.len | e->datacontenttype.len | e->dataschema.len |
                    e->correlationid.len | e->causationid.len | e->extension_count | e->priority |
                    (uint64_t)e->deliver_at_ms | (uint64_t)e->expires_at_ms;
    return __builtin_expect(rare == 0, true);
}

/* Whether nothing but the type is left to check: so it is, and the subject is plain text. */
static inline bool plain_event(const beck_event *e)
{
    return plain_attributes(e) && plain_text(e->subject, EVENT_ATTRIBUTE_MAX);
}

#endif
