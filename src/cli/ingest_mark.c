/* Ids of ingested events, written and read. */
#include "cli/ingest_mark.h"
#include "event/event.h"
#include <assert.h>

size_t ingest_mark_write(char out[INGEST_MARK_MAX], const char *fingerprint, int64_t number)
{
    char digits[20] = {0};
    size_t n = 0;
    assert(number >= 0);
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, fingerprint, FINGERPRINT_LEN);
    out[FINGERPRINT_LEN] = ':';
    for (size_t i = 0; i < n; i++) {
        out[FINGERPRINT_LEN + 1 + i] = digits[n - 1 - i];
    }
    return FINGERPRINT_LEN + 1 + n;
}

bool ingest_mark_read(const beck_event *e, beck_bytes source, struct ingest_mark *out)
{
    beck_bytes id = e->id, from = e->source;
    if (e->extension_count > 0) {
        beck_bytes marked = event_extension(e, INGEST_ID);
        beck_bytes marked_source = event_extension(e, INGEST_SOURCE);
        id = marked.len ? marked : id;
        from = marked_source.len ? marked_source : from;
    }
    if (!bytes_equal(from, source) || id.len < FINGERPRINT_LEN + 2) {
        return false;
    }
    const char *text = id.data;
    uint64_t number;
    if (text[FINGERPRINT_LEN] != ':' || strspn(text, "0123456789abcdef") != FINGERPRINT_LEN ||
        !bytes_to_u64(bytes_of(text + FINGERPRINT_LEN + 1, id.len - FINGERPRINT_LEN - 1),
                      &number) ||
        number > INT64_MAX) {
        return false;
    }
    memcpy(out->fingerprint, text, FINGERPRINT_LEN);
    out->fingerprint[FINGERPRINT_LEN] = 0;
    out->number = (int64_t)number;
    return true;
}
