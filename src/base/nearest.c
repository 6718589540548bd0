/* The distance between two names, and what is near enough to be suggested. */
#include "base/nearest.h"
#include <string.h>

#define NAME_BYTES_MAX 63

/* Levenshtein's distance; longer names are far from everything. */
static unsigned distance_of(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > NAME_BYTES_MAX || b_len > NAME_BYTES_MAX) {
        return 99;
    }
    unsigned row[NAME_BYTES_MAX + 1];
    for (unsigned j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned above = row[j];
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *nearest(const char *name, const char *best, unsigned *distance, const char *candidate)
{
    size_t len = strlen(name);
    unsigned d = distance_of(name, candidate);
    if (len >= 3 && strncmp(name, candidate, len) == 0) {
        d = 1;
    }
    unsigned limit = len <= 3 ? 1 : 2;
    if (d <= limit && (!best || d < *distance)) {
        *distance = d;
        return candidate;
    }
    return best;
}
