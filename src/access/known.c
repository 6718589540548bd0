/* Passwords that were right a moment ago: see known.h. The HMAC chooses a set of four places. */
#include "access/known.h"

#include "access/secret.h"
#include "access/user.h"
#include "base/thread.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <stdlib.h>

#define SETS 256
#define WAYS 4
#define LIFE_NS INT64_C(60000000000)

struct entry {
    uint8_t mac[SECRET_DIGEST];
    struct identity *user; /* NULL: free */
    int64_t until_ns;
};

struct known {
    uint8_t key[SECRET_DIGEST];
    struct mutex lock;
    struct entry entries[SETS][WAYS];
};

beck_status known_new(struct known **out, beck_error *err)
{
    struct known *k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, BECK_ENOMEM, "no memory for the users");
    mutex_init(&k->lock);
    beck_status status = secret_random(k->key, sizeof k->key, err);
    if (status)
        known_free(k);
    else
        *out = k;
    return status;
}

void known_free(struct known *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < (size_t)SETS * WAYS; i++)
        identity_release(k->entries[i / WAYS][i % WAYS].user);
    OPENSSL_cleanse(k->key, sizeof k->key);
    mutex_release(&k->lock);
    free(k);
}

/* False: they are longer than any user has. */
static bool mac_of(const struct known *k, beck_bytes user, beck_bytes password,
                   uint8_t mac[SECRET_DIGEST])
{
    uint8_t text[1 + ACCESS_NAME_MAX + ACCESS_PASSWORD_MAX];
    if (user.len > ACCESS_NAME_MAX || password.len > ACCESS_PASSWORD_MAX || user.len == 0 ||
        password.len == 0)
        return false;
    text[0] = (uint8_t)user.len;
    memcpy(text + 1, user.data, user.len);
    memcpy(text + 1 + user.len, password.data, password.len);
    bool done = HMAC(EVP_sha256(), k->key, sizeof k->key, text, 1 + user.len + password.len, mac,
                     NULL) != NULL;
    OPENSSL_cleanse(text, sizeof text);
    return done;
}

static struct entry *find(struct known *k, const uint8_t mac[SECRET_DIGEST])
{
    struct entry *set = k->entries[mac[0] % SETS];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].user && secret_equal(set[i].mac, mac))
            return &set[i];
    return NULL;
}

/* The place of the set that is used no more, or whose time ends first. */
static struct entry *oldest(struct known *k, const uint8_t mac[SECRET_DIGEST])
{
    struct entry *set = k->entries[mac[0] % SETS], *best = &set[0];
    for (size_t i = 0; i < WAYS && best->user; i++)
        if (!set[i].user || set[i].until_ns < best->until_ns)
            best = &set[i];
    return best;
}

void known_add(struct known *k, struct identity *user, beck_bytes password, int64_t now_ns)
{
    uint8_t mac[SECRET_DIGEST];
    if (!mac_of(k, beck_str(user->name), password, mac))
        return;
    mutex_lock(&k->lock);
    struct entry *e = find(k, mac);
    if (!e)
        e = oldest(k, mac);
    struct identity *before = e->user;
    memcpy(e->mac, mac, sizeof mac);
    e->user = identity_retain(user);
    e->until_ns = now_ns + LIFE_NS;
    mutex_unlock(&k->lock);
    identity_release(before);
}

struct identity *known_find(struct known *k, beck_bytes user, beck_bytes password, int64_t now_ns)
{
    uint8_t mac[SECRET_DIGEST];
    struct identity *found = NULL, *gone = NULL;
    if (!mac_of(k, user, password, mac))
        return NULL;
    mutex_lock(&k->lock);
    struct entry *e = find(k, mac);
    if (e && e->until_ns > now_ns && !identity_is_stale(e->user)) {
        found = identity_retain(e->user);
    } else if (e) {
        gone = e->user;
        e->user = NULL;
    }
    mutex_unlock(&k->lock);
    identity_release(gone);
    return found;
}
