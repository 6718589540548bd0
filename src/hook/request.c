/* What providers do with requests: headers that must be there once, time stamps, signatures. */
#include "hook/hook_impl.h"

#include <strings.h>

static const char *find(const struct hook_request *r, const char *name, size_t *count)
{
    const char *first = NULL;
    *count = 0;
    size_t len = strlen(name);
    for (size_t i = 0; i < r->header_count; i++) {
        const char *other = r->headers[i].name;
        /* Most differ in length, which is the cheaper look. */
        if (strlen(other) == len && strncasecmp(other, name, len) == 0 && (*count)++ == 0)
            first = r->headers[i].value;
    }
    return first;
}

const char *request_find(const struct hook_request *r, const char *name)
{
    size_t count;
    return find(r, name, &count);
}

enum hook_reason request_header(const struct hook_request *r, const char *name, const char **out)
{
    size_t count;
    *out = find(r, name, &count);
    if (count == 0)
        return HOOK_MISSING_HEADER;
    return count == 1 ? HOOK_FINE : HOOK_BAD_HEADER;
}

bool request_is(const struct hook_request *r, const char *content_type)
{
    const char *given = request_find(r, "Content-Type");
    if (!given)
        return false;
    size_t len = strlen(content_type);
    return strncasecmp(given, content_type, len) == 0 && strchr("; \t", given[len]);
}

enum hook_reason stamp_check(const struct hook *h, const char *text, size_t len, int64_t now_ns,
                             bool past_only, int64_t *out)
{
    bool negative = len > 1 && text[0] == '-';
    size_t sign = negative, digits = 0;
    while (sign + digits < len && text[sign + digits] >= '0' && text[sign + digits] <= '9')
        digits++;
    if (digits == 0 || sign + digits != len)
        return HOOK_BAD_HEADER;
    if (negative)
        return HOOK_TOO_OLD;
    uint64_t seconds;
    if (digits > 18 || !bytes_to_u64(bytes_of(text, len), &seconds))
        return HOOK_TOO_NEW;
    if (out)
        *out = (int64_t)seconds;
    if (h->settings.tolerance_ms < 0)
        return HOOK_FINE;
    int64_t age = now_ns / 1000000000 - (int64_t)seconds;
    int64_t tolerance = (h->settings.tolerance_ms + 999) / 1000;
    if (age > tolerance)
        return HOOK_TOO_OLD;
    return age < -tolerance && !past_only ? HOOK_TOO_NEW : HOOK_FINE;
}

bool signature_matches(const struct hook *h, const beck_bytes *parts, size_t part_count,
                       enum hook_encoding encoding, const beck_bytes *given, size_t given_count)
{
    for (size_t k = 0; k < h->mac_count; k++) {
        uint8_t mac[MAC_SIZE_MAX];
        char text[MAC_TEXT_MAX];
        size_t len = mac_run(&h->macs[k], parts, part_count, mac);
        if (len == 0)
            return false;
        beck_bytes right = bytes_of(text, mac_text(mac, len, encoding, text));
        for (size_t i = 0; i < given_count; i++)
            if (same_secret(given[i], right))
                return true;
    }
    return false;
}
