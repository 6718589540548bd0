/* Names of AMQP as names of the engine: see names.h. */
#include "broker/names.h"

#include "base/error.h"
#include "base/siphash.h"
#include "base/uuid.h"

#include <stdio.h>
#include <unistd.h>

#define READABLE_MAX 200 /* of a name that is hashed */
#define MARK "--"
#define MARK_LEN 2
#define DIGITS 32

/* For ever the same: names lie on disk. */
static const uint64_t seed[2] = {0x6265636b2e616d71ull, 0x702e6e616d65732eull};

static bool is_legal(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool ends_with_hash(beck_bytes name)
{
    if (name.len < MARK_LEN + DIGITS)
        return false;
    const char *end = (const char *)name.data + name.len - DIGITS;
    for (int i = 0; i < DIGITS; i++)
        if (!((end[i] >= '0' && end[i] <= '9') || (end[i] >= 'a' && end[i] <= 'f')))
            return false;
    return memcmp(end - MARK_LEN, MARK, MARK_LEN) == 0;
}

static bool is_kept(beck_bytes name)
{
    const char *text = name.data;
    if (name.len == 0 || name.len >= ENGINE_NAME || ends_with_hash(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_legal(text[i]))
            return false;
    return !bytes_equal_text(name, ".") && !bytes_equal_text(name, "..") &&
           (name.len < 2 || memcmp(text, "__", 2) != 0);
}

static size_t sanitize(beck_bytes from, char *out, size_t room)
{
    size_t len = 0;
    for (; len < from.len && len < room; len++) {
        char c = ((const char *)from.data)[len];
        out[len] = is_legal(c) && (len > 0 || (c != '_' && c != '.')) ? c : '-';
    }
    return len;
}

static void hash(beck_bytes vhost, beck_bytes name, uint64_t out[2])
{
    uint8_t both[2 + 255 + 255];
    size_t vhost_len = vhost.len < 255 ? vhost.len : 255;
    size_t name_len = name.len < 255 ? name.len : 255;
    put_u16(both, (uint16_t)vhost_len);
    memcpy(both + 2, vhost.data ? vhost.data : "", vhost_len);
    memcpy(both + 2 + vhost_len, name.data ? name.data : "", name_len);
    siphash(seed, bytes_of(both, 2 + vhost_len + name_len), out);
}

void engine_name(beck_bytes vhost, beck_bytes name, char out[ENGINE_NAME])
{
    bool root = bytes_equal_text(vhost, "/");
    uint64_t digest[2];
    size_t len = 0;
    if (root && is_kept(name)) {
        memcpy(out, name.data, name.len);
        out[name.len] = 0;
        return;
    }
    if (!root) {
        len = sanitize(vhost, out, READABLE_MAX / 2);
        out[len++] = '.';
    }
    len += sanitize(name, out + len, READABLE_MAX - len);
    if (out[0] == '.') /* of a vhost without a name */
        out[0] = '-';
    hash(vhost, name, digest);
    snprintf(out + len, ENGINE_NAME - len, MARK "%016llx%016llx", (unsigned long long)digest[0],
             (unsigned long long)digest[1]);
}

bool engine_name_is_free(const char *name)
{
    return is_kept(beck_str(name)) && strncmp(name, "amq.", 4) != 0;
}

beck_status generated_name(const char *prefix, char out[GENERATED_NAME], beck_error *err)
{
    uint8_t random[16];
    char text[23];
    if (getentropy(random, sizeof random))
        return error_set(err, BECK_EIO, "the system gives no random numbers");
    uuid_base64(random, text);
    snprintf(out, GENERATED_NAME, "%s%s", prefix, text);
    return BECK_OK;
}
