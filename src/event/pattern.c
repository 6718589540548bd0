/*
 * Type patterns: checking them, and matching one against a type without recursion. `#` is handled
 * as in matching of file names: the last `#` is remembered, and a mismatch behind it lets that `#`
 * take one more word. Going back further is never needed, since an earlier `#` could only take what
 * the later one can take as well.
 */
#include "event/pattern.h"
#include "base/error.h"
#include "event/event.h"

static bool is_wildcard(uint8_t c)
{
    return c == '*' || c == '#';
}

static beck_status refuse(beck_bytes pattern, size_t at, const char *what, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    return error_set(err, BECK_EINVAL,
                     "pattern %s %s at byte %zu; expected dot-separated words, each text, '*' (one "
                     "word) or '#' (any number of words), for example \"order.*\"",
                     event_quote(pattern, quoted), what, at);
}

beck_status pattern_check(beck_bytes pattern, beck_error *err)
{
    char quoted[EVENT_QUOTE_MAX];
    if (pattern.len == 0) {
        return error_set(err, BECK_EINVAL,
                         "the pattern is empty; use \"#\" for every event, or for example "
                         "\"order.*\"");
    }
    beck_error reason;
    beck_status status = event_check_text(pattern, PATTERN_MAX, &reason);
    if (status != BECK_OK) {
        return error_set(err, status, "pattern %s %s", event_quote(pattern, quoted), reason.text);
    }
    const uint8_t *p = pattern.data;
    size_t word_at = 0;
    for (size_t i = 0; i <= pattern.len; i++) {
        if (i < pattern.len && p[i] != '.') {
            continue;
        }
        if (i == word_at) {
            return refuse(pattern, i, "has an empty word", err);
        }
        for (size_t k = word_at; i - word_at > 1 && k < i; k++) {
            if (is_wildcard(p[k])) {
                return refuse(pattern, k, "has a wildcard inside a word", err);
            }
        }
        word_at = i + 1;
    }
    return BECK_OK;
}

/* Words of a text, one by one. `at` is where the next one begins; beyond len: there is none. */
struct words {
    const uint8_t *text;
    size_t len, at;
};

static bool words_end(const struct words *w)
{
    return w->at > w->len;
}

static beck_bytes words_take(struct words *w)
{
    const uint8_t *p = w->text + w->at;
    const uint8_t *dot = memchr(p, '.', w->len - w->at);
    size_t len = dot == NULL ? w->len - w->at : (size_t)(dot - p);
    w->at += len + 1;
    return bytes_of(p, len);
}

static bool word_is(beck_bytes word, char c)
{
    return word.len == 1 && *(const char *)word.data == c;
}

bool pattern_match(beck_bytes pattern, beck_bytes type)
{
    if (type.len == 0) {
        type.data = "";
    }
    struct words p = {pattern.data, pattern.len, 0};
    struct words t = {type.data, type.len, 0};
    bool have_hash = false;
    struct words hash_p = p;
    struct words hash_t = t;
    for (;;) {
        if (!words_end(&p)) {
            struct words next_p = p;
            beck_bytes want = words_take(&next_p);
            if (word_is(want, '#')) {
                have_hash = true;
                hash_p = p = next_p;
                hash_t = t;
                continue;
            }
            if (!words_end(&t)) {
                beck_bytes word = words_take(&t);
                if (word_is(want, '*') || bytes_equal(want, word)) {
                    p = next_p;
                    continue;
                }
            }
        } else if (words_end(&t)) {
            return true;
        }
        /* A mismatch, or words left over on one side. */
        if (!have_hash || words_end(&hash_t)) {
            return false;
        }
        words_take(&hash_t);
        t = hash_t;
        p = hash_p;
    }
}
