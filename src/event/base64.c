/* base64 with padding (RFC 4648 section 4). Strict: no white space, the padding is there, and bits
 * behind the last byte are zero, so that every value has one spelling only. */
#include "event/json.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

beck_status base64_write(struct buf *out, beck_bytes data)
{
    if (data.len > SIZE_MAX / 4 * 3 - 3) {
        return BECK_ELIMIT;
    }
    size_t len = (data.len + 2) / 3 * 4;
    beck_status status = buf_reserve(out, len);
    if (status != BECK_OK || len == 0) {
        return status;
    }
    const uint8_t *p = data.data;
    uint8_t *to = out->data + out->len;
    for (size_t left = data.len; left > 0; p += 3, to += 4) {
        uint32_t v =
            (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
        to[0] = (uint8_t)alphabet[v >> 18];
        to[1] = (uint8_t)alphabet[v >> 12 & 63];
        to[2] = (uint8_t)(left > 1 ? alphabet[v >> 6 & 63] : '=');
        to[3] = (uint8_t)(left > 2 ? alphabet[v & 63] : '=');
        left -= left < 3 ? left : 3;
    }
    out->len += len;
    return BECK_OK;
}

static int32_t digit_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_read_to(beck_bytes text, uint8_t *out, size_t *len)
{
    if (text.len % 4 != 0) {
        return false;
    }
    const uint8_t *p = text.data;
    uint8_t *to = out;
    for (size_t i = 0; i < text.len; i += 4, p += 4) {
        bool last = i + 4 == text.len;
        int padding = last && p[3] == '=' ? (p[2] == '=' ? 2 : 1) : 0;
        int32_t digit[4] = {digit_value(p[0]), digit_value(p[1]),
                            padding > 1 ? 0 : digit_value(p[2]),
                            padding > 0 ? 0 : digit_value(p[3])};
        if ((digit[0] | digit[1] | digit[2] | digit[3]) < 0) {
            return false;
        }
        int32_t v = digit[0] << 18 | digit[1] << 12 | digit[2] << 6 | digit[3];
        if ((padding == 1 && (v & 0xFF) != 0) || (padding == 2 && (v & 0xFFFF) != 0)) {
            return false;
        }
        *to++ = (uint8_t)(v >> 16);
        if (padding < 2) {
            *to++ = (uint8_t)(v >> 8);
        }
        if (padding < 1) {
            *to++ = (uint8_t)v;
        }
    }
    *len = (size_t)(to - out);
    return true;
}

bool base64_read(beck_bytes text, struct buf *out)
{
    size_t len = 0;
    if (text.len == 0) {
        return true;
    }
    if (buf_reserve(out, text.len) != BECK_OK ||
        !base64_read_to(text, out->data + out->len, &len)) {
        return false;
    }
    out->len += len;
    return true;
}
