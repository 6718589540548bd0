/* Users by name and by token: see roster.h. */
#include "access/roster.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 16

void roster_init(struct roster *t)
{
    struct rng rng;
    rng_seed_system(&rng);
    *t = (struct roster){.seed = rng_next(&rng)};
}

void roster_release(struct roster *t)
{
    for (size_t i = 0; i < t->user_buckets; i++) {
        while (t->users[i]) {
            struct identity *user = t->users[i];
            t->users[i] = user->next;
            identity_release(user);
        }
    }
    free(t->users);
    free(t->tokens);
    *t = (struct roster){0};
}

static struct identity **user_bucket(const struct roster *t, beck_bytes name)
{
    return &t->users[bytes_hash(name.data, name.len, t->seed) & (t->user_buckets - 1)];
}

/* A digest is a hash already. */
static struct token **token_bucket(const struct roster *t, const uint8_t digest[SECRET_DIGEST])
{
    return &t->tokens[get_u64(digest) & (t->token_buckets - 1)];
}

struct identity *roster_find(const struct roster *t, beck_bytes name)
{
    struct identity *user = t->user_buckets > 0 ? *user_bucket(t, name) : NULL;
    while (user && !bytes_equal_text(name, user->name))
        user = user->next;
    return user;
}

struct identity *roster_find_token(const struct roster *t, const uint8_t digest[SECRET_DIGEST])
{
    struct token *token = t->token_buckets > 0 ? *token_bucket(t, digest) : NULL;
    while (token && !secret_equal(token->digest, digest))
        token = token->next;
    return token ? token->user : NULL;
}

/* ---- room ---- */

static size_t buckets_for(size_t count)
{
    size_t buckets = BUCKETS_MIN;
    while (buckets < count)
        buckets *= 2;
    return buckets;
}

static bool grow_users(struct roster *t, size_t buckets)
{
    struct identity **old = t->users;
    size_t old_buckets = t->user_buckets;
    struct identity **grown = calloc(buckets, sizeof(struct identity *));
    if (!grown)
        return false;
    t->users = grown;
    t->user_buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        while (old[i]) {
            struct identity *user = old[i], **to = user_bucket(t, beck_str(user->name));
            old[i] = user->next;
            user->next = *to;
            *to = user;
        }
    }
    free(old);
    return true;
}

static bool grow_tokens(struct roster *t, size_t buckets)
{
    struct token **old = t->tokens;
    size_t old_buckets = t->token_buckets;
    struct token **grown = calloc(buckets, sizeof(struct token *));
    if (!grown)
        return false;
    t->tokens = grown;
    t->token_buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        while (old[i]) {
            struct token *token = old[i], **to = token_bucket(t, token->digest);
            old[i] = token->next;
            token->next = *to;
            *to = token;
        }
    }
    free(old);
    return true;
}

bool roster_reserve(struct roster *t, size_t tokens)
{
    size_t users = buckets_for(t->user_count + 1);
    size_t digests = buckets_for(t->token_count + tokens);
    return (users <= t->user_buckets || grow_users(t, users)) &&
           (digests <= t->token_buckets || grow_tokens(t, digests));
}

/* ---- changes ---- */

static void link_tokens(struct roster *t, struct identity *user)
{
    for (size_t i = 0; i < user->token_count; i++) {
        struct token **bucket = token_bucket(t, user->tokens[i].digest);
        user->tokens[i].next = *bucket;
        *bucket = &user->tokens[i];
    }
    t->token_count += user->token_count;
}

static void unlink_tokens(struct roster *t, struct identity *user)
{
    for (size_t i = 0; i < user->token_count; i++) {
        struct token **at = token_bucket(t, user->tokens[i].digest);
        while (*at != &user->tokens[i])
            at = &(*at)->next;
        *at = user->tokens[i].next;
    }
    t->token_count -= user->token_count;
}

struct identity *roster_put(struct roster *t, const char *name, struct identity *user)
{
    struct identity *old = roster_find(t, beck_str(name));
    if (old) {
        struct identity **at = user_bucket(t, beck_str(name));
        while (*at != old)
            at = &(*at)->next;
        *at = old->next;
        unlink_tokens(t, old);
        atomic_store_explicit(&old->stale, true, memory_order_release);
        t->user_count--;
    }
    if (user) {
        assert(t->user_buckets > 0 && strcmp(user->name, name) == 0);
        struct identity **bucket = user_bucket(t, beck_str(name));
        user->next = *bucket;
        *bucket = user;
        link_tokens(t, user);
        t->user_count++;
    }
    return old;
}

static int by_name(const void *a, const void *b)
{
    const struct identity *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

struct identity **roster_list(const struct roster *t)
{
    struct identity **list = malloc((t->user_count + 1) * sizeof(struct identity *));
    size_t count = 0;
    if (!list)
        return NULL;
    for (size_t i = 0; i < t->user_buckets; i++)
        for (struct identity *user = t->users[i]; user; user = user->next)
            list[count++] = identity_retain(user);
    qsort(list, count, sizeof(struct identity *), by_name);
    return list;
}
