/* SCRAM credentials: a list in memory of what the store has; see scram.h. */
#include "kafka/scram.h"

#include "base/error.h"
#include "kafka/kafka_impl.h"
#include "kafka/store.h"

#include <stdio.h>
#include <stdlib.h>

#define KIND "scram"
#define FORMAT 1
#define HEAD 6
#define DATA_MAX (HEAD + SCRAM_SALT_MAX + 2 * SCRAM_KEY_MAX)
#define KEY_MAX (SCRAM_USER_MAX + 4)

struct entry {
    struct entry *next;
    struct scram_credential credential;
    size_t user_len;
    char user[];
};

struct scrams {
    struct mutex lock; /* held while a change is stored */
    struct entry *first;
    size_t count;
};

size_t scram_key_len(enum scram_mechanism mechanism)
{
    return mechanism == SCRAM_SHA_256 ? 32 : 64;
}

/* ---- the list; with the lock ---- */

static struct entry **find(struct scrams *s, beck_bytes user, enum scram_mechanism mechanism)
{
    struct entry **at = &s->first;
    while (*at && ((*at)->credential.mechanism != mechanism ||
                   !bytes_equal(bytes_of((*at)->user, (*at)->user_len), user)))
        at = &(*at)->next;
    return at;
}

static struct entry *entry_new(beck_bytes user, const struct scram_credential *c)
{
    struct entry *e = malloc(sizeof *e + user.len);
    if (!e)
        return NULL;
    *e = (struct entry){.credential = *c, .user_len = user.len};
    memcpy(e->user, user.data, user.len);
    return e;
}

static void forget(struct scrams *s, struct entry **at)
{
    struct entry *e = *at;
    if (!e)
        return;
    *at = e->next;
    free(e);
    s->count--;
}

static void replace(struct scrams *s, struct entry *e)
{
    struct entry **at = find(s, bytes_of(e->user, e->user_len), e->credential.mechanism);
    forget(s, at);
    while (*at)
        at = &(*at)->next;
    *at = e;
    s->count++;
}

/* ---- records ---- */

static size_t write_data(const struct scram_credential *c, uint8_t out[DATA_MAX])
{
    size_t key = scram_key_len(c->mechanism), at = HEAD + c->salt_len;
    out[0] = FORMAT;
    put_u32(out + 1, (uint32_t)c->iterations);
    out[5] = (uint8_t)c->salt_len;
    memcpy(out + HEAD, c->salt, c->salt_len);
    memcpy(out + at, c->stored_key, key);
    memcpy(out + at + key, c->server_key, key);
    return at + 2 * key;
}

static bool read_data(beck_bytes data, struct scram_credential *c)
{
    const uint8_t *p = data.data;
    size_t key = scram_key_len(c->mechanism);
    if (data.len < HEAD || p[0] != FORMAT || p[5] > SCRAM_SALT_MAX ||
        data.len != HEAD + p[5] + 2 * key)
        return false;
    c->iterations = (int32_t)get_u32(p + 1);
    c->salt_len = p[5];
    memcpy(c->salt, p + HEAD, c->salt_len);
    memcpy(c->stored_key, p + HEAD + c->salt_len, key);
    memcpy(c->server_key, p + HEAD + c->salt_len + key, key);
    return true;
}

static beck_status load(void *ctx, beck_bytes key, beck_bytes data, beck_error *err)
{
    struct scrams *s = ctx;
    const char *text = key.data;
    if (key.len < 3 || (text[0] != '1' && text[0] != '2') || text[1] != ':')
        return error_set(err, BECK_ECORRUPT, "a record of SCRAM credentials has no proper key");
    struct scram_credential c = {.mechanism = (enum scram_mechanism)(text[0] - '0')};
    beck_bytes user = bytes_of(text + 2, key.len - 2);
    if (!data.data) {
        forget(s, find(s, user, c.mechanism));
        return BECK_OK;
    }
    if (!read_data(data, &c))
        return error_set(err, BECK_ECORRUPT, "the SCRAM credentials of '%.*s' are damaged",
                         (int)user.len, (const char *)user.data);
    struct entry *e = entry_new(user, &c);
    if (!e)
        return error_set(err, BECK_ENOMEM, "no memory for SCRAM credentials");
    replace(s, e);
    return BECK_OK;
}

static beck_status put_record(struct kafka *k, beck_bytes user, enum scram_mechanism mechanism,
                              beck_bytes data, beck_error *err)
{
    char key[KEY_MAX];
    int len = snprintf(key, sizeof key, "%d:%.*s", (int)mechanism, (int)user.len,
                       (const char *)user.data);
    struct store_record r = {KIND, bytes_of(key, (size_t)len), data};
    return store_put(k->store, &r, err);
}

/* ---- the doors ---- */

beck_status scrams_open(struct kafka *k, beck_error *err)
{
    k->scrams = calloc(1, sizeof *k->scrams);
    if (!k->scrams)
        return error_set(err, BECK_ENOMEM, "no memory for SCRAM credentials");
    mutex_init(&k->scrams->lock);
    return store_each(k->store, KIND, load, k->scrams, err);
}

void scrams_close(struct kafka *k)
{
    if (!k->scrams)
        return;
    while (k->scrams->first)
        forget(k->scrams, &k->scrams->first);
    mutex_release(&k->scrams->lock);
    free(k->scrams);
}

bool scram_find(struct kafka *k, beck_bytes user, enum scram_mechanism mechanism,
                struct scram_credential *out)
{
    mutex_lock(&k->scrams->lock);
    const struct entry *e = *find(k->scrams, user, mechanism);
    if (e)
        *out = e->credential;
    mutex_unlock(&k->scrams->lock);
    return e != NULL;
}

beck_status scram_put(struct kafka *k, beck_bytes user, const struct scram_credential *c,
                      beck_error *err)
{
    uint8_t data[DATA_MAX];
    struct scrams *s = k->scrams;
    struct entry *e = entry_new(user, c);
    if (!e)
        return error_set(err, BECK_ENOMEM, "no memory for SCRAM credentials");
    mutex_lock(&s->lock);
    beck_status status =
        s->count >= SCRAM_CREDENTIALS_MAX
            ? error_set(err, BECK_ELIMIT, "there are %d SCRAM credentials: delete some",
                        SCRAM_CREDENTIALS_MAX)
            : put_record(k, user, c->mechanism, bytes_of(data, write_data(c, data)), err);
    if (!status)
        replace(s, e);
    mutex_unlock(&s->lock);
    if (status)
        free(e);
    return status;
}

beck_status scram_delete(struct kafka *k, beck_bytes user, enum scram_mechanism mechanism,
                         beck_error *err)
{
    struct scrams *s = k->scrams;
    mutex_lock(&s->lock);
    struct entry **at = find(s, user, mechanism);
    beck_status status = *at ? put_record(k, user, mechanism, (beck_bytes){NULL, 0}, err)
                             : error_set(err, BECK_ENOENT, "there are no such credentials");
    if (!status)
        forget(s, at);
    mutex_unlock(&s->lock);
    return status;
}

void scram_each(struct kafka *k,
                void (*each)(void *ctx, beck_bytes user, const struct scram_credential *c),
                void *ctx)
{
    mutex_lock(&k->scrams->lock);
    for (const struct entry *e = k->scrams->first; e; e = e->next)
        each(ctx, bytes_of(e->user, e->user_len), &e->credential);
    mutex_unlock(&k->scrams->lock);
}
