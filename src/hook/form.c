/* Forms: name=value&name=value, where "+" is a blank and %XX a byte. */
#include "hook/form.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t decode(beck_bytes text, uint8_t *out)
{
    const uint8_t *p = text.data, *end = p + text.len;
    uint8_t *to = out;
    while (p < end) {
        int high = *p == '%' && end - p > 2 ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low >= 0) {
            *to++ = (uint8_t)(high << 4 | low);
            p += 3;
        } else {
            *to++ = *p == '+' ? ' ' : *p;
            p++;
        }
    }
    return (size_t)(to - out);
}

size_t form_field(beck_bytes form, const char *name, uint8_t *out, size_t *len)
{
    const uint8_t *p = form.len ? form.data : (const uint8_t *)"", *end = p + form.len;
    size_t count = 0;
    while (p < end) {
        const uint8_t *stop = memchr(p, '&', (size_t)(end - p));
        stop = stop ? stop : end;
        const uint8_t *equals = memchr(p, '=', (size_t)(stop - p));
        const uint8_t *name_end = equals ? equals : stop;
        if (bytes_equal_text(bytes_of(p, (size_t)(name_end - p)), name)) {
            const uint8_t *value = equals ? equals + 1 : stop;
            if (count++ == 0)
                *len = decode(bytes_of(value, (size_t)(stop - value)), out);
        }
        p = stop + (stop < end);
    }
    return count;
}
