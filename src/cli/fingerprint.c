/* A 64-bit FNV-1a hash of samples, so that the size of a file does not matter. */
#include "cli/fingerprint.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 65536
#define SAMPLE 4096
#define SAMPLES 16
#define PAUSE_MS 1000

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ p[i]) * 0x100000001B3u;
    }
    return hash;
}

static bool hash_part(int fd, uint64_t *hash, int64_t at, size_t len)
{
    uint8_t piece[SAMPLE];
    while (len > 0) {
        ssize_t n = pread(fd, piece, len < sizeof piece ? len : sizeof piece, at);
        if (n <= 0) {
            return n == 0;
        }
        *hash = hash_bytes(*hash, piece, (size_t)n);
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool hash_file(int fd, int64_t size, uint64_t *hash)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", (long long)size);
    *hash = hash_bytes(*hash, text, (size_t)n);
    bool good = hash_part(fd, hash, 0, HEAD);
    for (int64_t i = 0; i < SAMPLES && good && size > HEAD; i++) {
        good = hash_part(fd, hash, HEAD + (size - HEAD) / SAMPLES * i, SAMPLE);
    }
    return good && (size <= HEAD || hash_part(fd, hash, size - SAMPLE, SAMPLE));
}

static bool hash_stream(struct input *in, uint64_t *hash)
{
    while (input_window(in).len < HEAD && !in->ended) {
        if (input_window(in).len > 0 && !input_ready(in, PAUSE_MS)) {
            break;
        }
        enum input_result result = input_fill(in);
        if (result == INPUT_FAILED) {
            return false;
        }
        if (result != INPUT_MORE) {
            break;
        }
    }
    beck_bytes w = input_window(in);
    *hash = hash_bytes(*hash, w.data, w.len < HEAD ? w.len : HEAD);
    return true;
}

bool fingerprint_make(struct input *in, char out[FINGERPRINT_LEN + 1])
{
    struct stat st;
    uint64_t hash = 0xCBF29CE484222325u;
    bool regular = fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode);
    bool good = regular ? hash_file(in->fd, st.st_size, &hash) : hash_stream(in, &hash);
    snprintf(out, FINGERPRINT_LEN + 1, "%016llx", (unsigned long long)hash);
    return good;
}
