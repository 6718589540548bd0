/*
 * Who may do what: see access.h.
 *
 * The log `__users` is the truth, the roster in memory a view of it. A change is made as a new user,
 * written and synced, and put into the roster then; so what was refused by the disk never was. Two
 * locks: change_lock is held over all of a change, lock only over a look into the roster.
 */
#include "access/access.h"

#include "access/known.h"
#include "access/limiter.h"
#include "access/roster.h"
#include "access/through.h"
#include "api/handle.h"
#include "bus/own_bus.h"

#include <assert.h>
#include <stdlib.h>

#define USER_TYPE "user"
#define SEGMENT_BYTES (4 << 20)
#define RECORD_MAX (256 << 10)
#define HASHING_MAX 2 /* at a time: each takes a processor and 32 MiB */

#define FAILURES_MAX 10
#define FAILURES_WINDOW_MS 60000
#define LOG_N 15

struct access {
    beck *b;
    struct access_settings settings;
    struct mutex change_lock;
    beck_bus *bus; /* NULL: not made yet; with change_lock */
    struct mutex lock;
    struct cond hashed;
    uint32_t hashing;     /* with lock */
    struct roster roster; /* with lock; changed with change_lock as well */
    struct identity *anonymous, *trusted;
    struct limiter *limiter;
    struct known *known;
    struct password nobody; /* what passwords of unknown users are compared with */
    struct counter *right, *wrong, *limited;
};

/* ---- opening ---- */

static beck_status check_settings(struct access_settings *s, beck_error *err)
{
    if (!s->failures_max)
        s->failures_max = FAILURES_MAX;
    if (!s->failures_window_ms)
        s->failures_window_ms = FAILURES_WINDOW_MS;
    if (!s->scrypt_log_n)
        s->scrypt_log_n = LOG_N;
    if (s->scrypt_log_n < SECRET_LOG_N_MIN || s->scrypt_log_n > SECRET_LOG_N_MAX)
        return error_set(err, BECK_EINVAL, "the cost of passwords is 2^%d to 2^%d, not 2^%u",
                         SECRET_LOG_N_MIN, SECRET_LOG_N_MAX, s->scrypt_log_n);
    return BECK_OK;
}

/* What one record says. */
static beck_status apply(struct access *a, const beck_event *e, beck_error *err)
{
    char name[ACCESS_NAME_MAX + 1];
    struct identity *user = NULL;
    if (e->subject.len > ACCESS_NAME_MAX || e->subject.len == 0)
        return error_set(err, BECK_ECORRUPT, "a record of " OWN_USERS " names no user");
    memcpy(name, e->subject.data, e->subject.len);
    name[e->subject.len] = 0;
    if (e->data.data) {
        beck_status status = user_read(name, e->data, &user, err);
        if (status)
            return status;
        if (!roster_reserve(&a->roster, user->token_count)) {
            identity_release(user);
            return error_set(err, BECK_ENOMEM, "no memory for the users");
        }
    }
    identity_release(roster_put(&a->roster, name, user));
    return BECK_OK;
}

static beck_status load(struct access *a, beck_error *err)
{
    beck_reader *reader;
    beck_read_options o = {.from.kind = BECK_FROM_EARLIEST};
    beck_status status = beck_bus_get(a->b, OWN_USERS, &a->bus, err);
    if (status)
        return status == BECK_ENOENT ? BECK_OK : status;
    status = beck_reader_open(a->bus, &o, &reader, err);
    if (status)
        return status;
    const beck_event *e;
    while (!status && !(status = beck_reader_next(reader, 0, &e, err)))
        status = apply(a, e, err);
    beck_reader_close(reader);
    return status == BECK_END ? BECK_OK : status;
}

static struct identity *new_nobody(void)
{
    struct identity *i = identity_new("", NULL, "", NULL, 0, NULL, 0);
    if (i)
        i->everything = true;
    return i;
}

static struct counter *logins(beck *b, const char *result)
{
    static const char *const labels[] = {"result", NULL};
    beck_bytes value = beck_str(result);
    return metric_counter(metrics_counter(b->env.metrics, "beck_logins_total",
                                          "Passwords and tokens that were looked at.", labels, 10),
                          &value);
}

static beck_status begin(struct access *a, beck_error *err)
{
    const struct access_settings *s = &a->settings;
    a->anonymous = new_nobody();
    a->trusted = new_nobody();
    a->limiter = limiter_new(s->failures_max, s->failures_window_ms);
    a->right = logins(a->b, "right");
    a->wrong = logins(a->b, "wrong");
    a->limited = logins(a->b, "limited");
    if (!a->anonymous || !a->trusted || !a->limiter || !a->right || !a->wrong || !a->limited)
        return error_set(err, BECK_ENOMEM, "no memory for the users");
    /* Nobody's: no password has a hash of zeros. */
    a->nobody.log_n = s->scrypt_log_n;
    beck_status status = known_new(&a->known, err);
    return status || a->b->remote ? status : load(a, err);
}

static void note_users(struct access *a)
{
    atomic_store_explicit(&a->anonymous->stale, a->roster.user_count > 0, memory_order_release);
}

beck_status access_open(beck *b, const struct access_settings *settings, struct access **out,
                        beck_error *err)
{
    struct access_settings s = *settings;
    beck_status status = check_settings(&s, err);
    if (status)
        return status;
    struct access *a = calloc(1, sizeof *a);
    if (!a)
        return error_set(err, BECK_ENOMEM, "no memory for the users");
    a->b = b;
    a->settings = s;
    mutex_init(&a->change_lock);
    mutex_init(&a->lock);
    cond_init(&a->hashed);
    roster_init(&a->roster);
    status = begin(a, err);
    if (status) {
        access_close(a);
        return status;
    }
    note_users(a);
    *out = a;
    return BECK_OK;
}

void access_close(struct access *a)
{
    if (!a)
        return;
    known_free(a->known);
    limiter_free(a->limiter);
    roster_release(&a->roster);
    identity_release(a->anonymous);
    identity_release(a->trusted);
    cond_release(&a->hashed);
    mutex_release(&a->lock);
    mutex_release(&a->change_lock);
    free(a);
}

/* ---- callers ---- */

static int64_t now(const struct access *a)
{
    return clock_mono_ns(a->b->env.clock);
}

size_t access_user_count(struct access *a)
{
    mutex_lock(&a->lock);
    size_t count = a->roster.user_count;
    mutex_unlock(&a->lock);
    return count;
}

bool access_is_open(const struct access *a)
{
    return a->settings.anonymous_remote;
}

beck_status access_anonymous(struct access *a, const struct access_peer *peer,
                             struct identity **out, beck_error *err)
{
    if (peer->trusted) {
        *out = identity_retain(a->trusted);
        return BECK_OK;
    }
    bool open = peer->loopback ? a->settings.anonymous_loopback : a->settings.anonymous_remote;
    if (!open || identity_is_stale(a->anonymous))
        return error_set(err, BECK_EDENIED, "a name and password, or a token, are needed");
    *out = identity_retain(a->anonymous);
    return BECK_OK;
}

static beck_status check_limit(struct access *a, const struct access_peer *peer, int64_t *retry_ms,
                               beck_error *err)
{
    int64_t wait_ms;
    if (limiter_allows(a->limiter, peer->address, now(a), &wait_ms))
        return BECK_OK;
    counter_add(a->limited, 1);
    if (retry_ms)
        *retry_ms = wait_ms;
    return error_set(
        err, BECK_ELIMIT,
        "%u logins failed from \"%s\" (access.failures_max); the next one is looked at "
        "in %lld s",
        a->settings.failures_max, peer->address, (long long)(wait_ms + 999) / 1000);
}

static beck_status refuse(struct access *a, const struct access_peer *peer, beck_error *err)
{
    counter_add(a->wrong, 1);
    limiter_failed(a->limiter, peer->address, now(a));
    return error_set(err, BECK_EDENIED, "the name, password or token is not right");
}

static struct identity *find_user(struct access *a, beck_bytes name)
{
    mutex_lock(&a->lock);
    struct identity *user = roster_find(&a->roster, name);
    if (user)
        identity_retain(user);
    mutex_unlock(&a->lock);
    return user;
}

struct identity *access_named(struct access *a, beck_bytes name)
{
    return find_user(a, name);
}

bool access_scram(struct access *a, beck_bytes name, enum scram_hash hash, struct access_scram *out)
{
    struct identity *user = find_user(a, name);
    bool found = user && user->has_password && user->password.has_scram;
    if (found)
        *out = user->password.scram[hash];
    identity_release(user);
    return found;
}

beck_status access_may_try(struct access *a, const struct access_peer *peer, beck_error *err)
{
    return check_limit(a, peer, NULL, err);
}

void access_failed(struct access *a, const struct access_peer *peer)
{
    refuse(a, peer, NULL);
}

struct identity *access_vouched(struct access *a, beck_bytes user)
{
    return find_user(a, user);
}

/* Takes as long for a user that there is not. *user: with a reference, or NULL. */
static beck_status compare(struct access *a, beck_bytes name, beck_bytes password,
                           struct identity **user, beck_error *err)
{
    bool right = false;
    *user = find_user(a, name);
    const struct password *p = *user && (*user)->has_password ? &(*user)->password : &a->nobody;
    if (password.len > ACCESS_PASSWORD_MAX)
        p = &a->nobody;
    beck_status status = password_check(p, password, &right, err);
    if (status || !right || p == &a->nobody) {
        identity_release(*user);
        *user = NULL;
    }
    return status;
}

static void begin_hashing(struct access *a)
{
    mutex_lock(&a->lock);
    while (a->hashing == HASHING_MAX)
        cond_wait(&a->hashed, &a->lock);
    a->hashing++;
    mutex_unlock(&a->lock);
}

static void end_hashing(struct access *a)
{
    mutex_lock(&a->lock);
    a->hashing--;
    mutex_unlock(&a->lock);
    cond_signal(&a->hashed);
}

/* Whoever waited for a turn may find that the same password was right meanwhile, or that too many
 * others were wrong. */
static beck_status check_password(struct access *a, const struct access_peer *peer, beck_bytes name,
                                  beck_bytes password, struct identity **out, int64_t *retry_ms,
                                  beck_error *err)
{
    struct identity *user;
    if (access_password_known(a, name, password, out))
        return BECK_OK;
    beck_status status = check_limit(a, peer, retry_ms, err);
    if (!status)
        status = compare(a, name, password, &user, err);
    /* Changed meanwhile, perhaps the password: once more. */
    while (!status && user && identity_is_stale(user)) {
        identity_release(user);
        status = compare(a, name, password, &user, err);
    }
    if (status)
        return status;
    if (!user)
        return refuse(a, peer, err);
    counter_add(a->right, 1);
    known_add(a->known, user, password, now(a));
    *out = user;
    return BECK_OK;
}

beck_status access_password(struct access *a, const struct access_peer *peer, beck_bytes user,
                            beck_bytes password, struct identity **out, int64_t *retry_ms,
                            beck_error *err)
{
    if (access_password_known(a, user, password, out))
        return BECK_OK;
    beck_status status = check_limit(a, peer, retry_ms, err);
    if (status)
        return status;
    begin_hashing(a);
    status = check_password(a, peer, user, password, out, retry_ms, err);
    end_hashing(a);
    return status;
}

bool access_password_known(struct access *a, beck_bytes user, beck_bytes password,
                           struct identity **out)
{
    struct identity *found = known_find(a->known, user, password, now(a));
    if (found)
        *out = found;
    return found != NULL;
}

beck_status access_token(struct access *a, const struct access_peer *peer, beck_bytes token,
                         struct identity **out, int64_t *retry_ms, beck_error *err)
{
    struct identity *user = NULL;
    if (token.len == ACCESS_TOKEN_SIZE - 1) {
        uint8_t digest[SECRET_DIGEST];
        token_digest(token, digest);
        mutex_lock(&a->lock);
        user = roster_find_token(&a->roster, digest);
        if (user)
            identity_retain(user);
        mutex_unlock(&a->lock);
    }
    if (user) {
        counter_add(a->right, 1);
        *out = user;
        return BECK_OK;
    }
    beck_status status = check_limit(a, peer, retry_ms, err);
    return status ? status : refuse(a, peer, err);
}

/* ---- changes ---- */

static beck_status write_record(struct access *a, const char *name, const struct identity *user,
                                beck_error *err)
{
    beck_event e = {.type = beck_str(USER_TYPE), .subject = beck_str(name)};
    beck_publish_options o = {.level = BECK_LEVEL_SYNCED, .no_context = true};
    beck_bus_options bus = {.segment_bytes = SEGMENT_BYTES};
    assert(mutex_held(&a->change_lock));
    if (!a->b->data_dir)
        return BECK_OK;
    beck_status status = a->bus ? BECK_OK : handle_own_bus(a->b, OWN_USERS, &bus, &a->bus, err);
    if (status)
        return status;
    if (a->b->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    struct buf json;
    buf_init(&json, RECORD_MAX);
    if (user && (status = user_write(user, &json)))
        error_set(err, status, "no memory for user \"%s\"", name);
    e.data = user ? buf_bytes(&json) : (beck_bytes){0};
    if (!status)
        status = bus_publish(a->bus, &e, 1, &o, NULL, err);
    buf_release(&json);
    return status;
}

/* `user` NULL: gone. The caller's reference goes into the roster, or is given up. */
static beck_status put(struct access *a, const char *name, struct identity *user, beck_error *err)
{
    assert(mutex_held(&a->change_lock));
    mutex_lock(&a->lock);
    bool room = !user || roster_reserve(&a->roster, user->token_count);
    mutex_unlock(&a->lock);
    beck_status status = room ? write_record(a, name, user, err)
                              : error_set(err, BECK_ENOMEM, "no memory for user \"%s\"", name);
    if (status) {
        identity_release(user);
        return status;
    }
    mutex_lock(&a->lock);
    struct identity *old = roster_put(&a->roster, name, user);
    note_users(a);
    mutex_unlock(&a->lock);
    identity_release(old);
    return BECK_OK;
}

/* All users, each with a reference; the caller frees the list. */
static beck_status take_list(struct access *a, struct identity ***list, size_t *count,
                             beck_error *err)
{
    mutex_lock(&a->lock);
    *count = a->roster.user_count;
    *list = roster_list(&a->roster);
    mutex_unlock(&a->lock);
    return *list ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for the list of users");
}

static bool administers(const struct identity *i)
{
    return i && identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL) &&
           (i->has_password || i->token_count > 0);
}

/* Whether somebody is left who can administer the server when `user` (NULL: nobody) takes the place of `old`. */
static beck_status keep_admin(struct access *a, const struct identity *old,
                              const struct identity *user, beck_error *err)
{
    if (!a->settings.keep_admin || !administers(old) || administers(user))
        return BECK_OK;
    size_t count;
    struct identity **list;
    beck_status status = take_list(a, &list, &count, err);
    if (status)
        return status;
    bool another = false;
    for (size_t i = 0; i < count; i++) {
        another = another || (list[i] != old && administers(list[i]));
        identity_release(list[i]);
    }
    free(list);
    return another
               ? BECK_OK
               : error_set(err, BECK_EBUSY,
                           "user \"%s\" is the last one with a password or token who administers "
                           "the server; make another administrator first",
                           old->name);
}

/* What a changed user is made of: what is not given is as it was in `old` (which may be NULL). */
static beck_status change(struct access *a, const struct access_change *c,
                          const struct identity *old, const struct password *password,
                          const struct token *tokens, size_t token_count, beck_error *err)
{
    const struct access_rule *rules = c->rules;
    size_t rule_count = rules ? c->rule_count : 0;
    if (!password && !c->no_password && old && old->has_password)
        password = &old->password;
    if (!rules && old) {
        rules = old->rules;
        rule_count = old->rule_count;
    }
    const char *tags = c->tags ? c->tags : old ? old->tags : "";
    struct identity *user =
        identity_new(c->name, password, tags, rules, rule_count, tokens, token_count);
    if (!user)
        return error_set(err, BECK_ENOMEM, "no memory for user \"%s\"", c->name);
    beck_status status = c->even_last ? BECK_OK : keep_admin(a, old, user, err);
    if (!status)
        return put(a, c->name, user, err);
    identity_release(user);
    return status;
}

static beck_status put_user(struct access *a, const struct access_change *c,
                            const struct password *password, beck_error *err)
{
    struct identity *old = find_user(a, beck_str(c->name));
    beck_status status = BECK_OK;
    if (!old && access_user_count(a) == ACCESS_USERS_MAX)
        status = error_set(err, BECK_ELIMIT, "there are %d users already; delete one first",
                           ACCESS_USERS_MAX);
    if (!status)
        status =
            change(a, c, old, password, old ? old->tokens : NULL, old ? old->token_count : 0, err);
    identity_release(old);
    return status;
}

static beck_status check_change(const struct access_change *c, beck_error *err)
{
    beck_status status = user_name_check("user", c->name, err);
    if (!status && c->tags)
        status = user_tags_check(c->tags, err);
    if (!status && c->rules)
        status = user_rules_check(c->rules, c->rule_count, err);
    if (!status && c->password.data &&
        (c->password.len == 0 || c->password.len > ACCESS_PASSWORD_MAX))
        status = error_set(err, BECK_EINVAL, "a password has 1 to %d bytes", ACCESS_PASSWORD_MAX);
    return status;
}

beck_status access_change_user(struct access *a, const struct access_change *c, beck_error *err)
{
    struct password made;
    bool some = c->password.data || c->password_hash;
    beck_status status = check_change(c, err);
    if (!status && a->b->remote)
        status = error_set(err, BECK_EUNSUPPORTED,
                           "tags and hashes of passwords are not changed through a server");
    if (!status && c->password.data) {
        begin_hashing(a);
        status = password_make(c->password, a->settings.scrypt_log_n, &made, err);
        end_hashing(a);
    } else if (!status && c->password_hash && !password_read(beck_str(c->password_hash), &made)) {
        status = error_set(err, BECK_EINVAL, "the hash of the password is none");
    }
    if (status)
        return status;
    mutex_lock(&a->change_lock);
    status = put_user(a, c, some ? &made : NULL, err);
    mutex_unlock(&a->change_lock);
    return status;
}

beck_status access_put_user(struct access *a, const char *name, beck_bytes password,
                            const struct access_rule *rules, size_t rule_count, beck_error *err)
{
    struct access_change c = {
        .name = name, .password = password, .rules = rules, .rule_count = rule_count};
    if (!a->b->remote)
        return access_change_user(a, &c, err);
    beck_status status = check_change(&c, err);
    return status ? status : through_put_user(a->b->remote, name, password, rules, rule_count, err);
}

static beck_status no_user(const char *name, beck_error *err)
{
    return error_set(err, BECK_ENOENT, "there is no user \"%.140s\"", name ? name : "");
}

beck_status access_delete_user(struct access *a, const char *name, beck_error *err)
{
    if (a->b->remote)
        return remote_user_delete(a->b->remote, name, err);
    mutex_lock(&a->change_lock);
    struct identity *old = find_user(a, beck_str(name));
    beck_status status = old ? keep_admin(a, old, NULL, err) : no_user(name, err);
    if (!status)
        status = put(a, old->name, NULL, err);
    mutex_unlock(&a->change_lock);
    identity_release(old);
    return status;
}

static int show(const struct identity *i, int (*each)(void *ctx, const struct access_user *user),
                void *ctx)
{
    const char *tokens[ACCESS_TOKENS_MAX];
    struct buf hash;
    buf_init(&hash, PASSWORD_TEXT_MAX);
    if (i->has_password && (password_write(&i->password, &hash) || buf_terminate(&hash)))
        buf_release(&hash);
    for (size_t n = 0; n < i->token_count; n++)
        tokens[n] = i->tokens[n].name;
    struct access_user user = {.name = i->name,
                               .has_password = i->has_password,
                               .password_hash = hash.data ? (const char *)hash.data : "",
                               .tags = i->tags,
                               .rules = i->rules,
                               .rule_count = i->rule_count,
                               .tokens = tokens,
                               .token_count = i->token_count};
    int ended = each(ctx, &user);
    buf_release(&hash);
    return ended;
}

beck_status access_list_users(struct access *a,
                              int (*each)(void *ctx, const struct access_user *user), void *ctx,
                              beck_error *err)
{
    if (a->b->remote)
        return through_list_users(a->b->remote, each, ctx, err);
    size_t count;
    struct identity **list;
    beck_status status = take_list(a, &list, &count, err);
    if (status)
        return status;
    bool ended = false;
    for (size_t i = 0; i < count; i++) {
        ended = ended || show(list[i], each, ctx) != 0;
        identity_release(list[i]);
    }
    free(list);
    return BECK_OK;
}

/* ---- tokens ---- */

/* Its index; token_count: there is none. */
static size_t find_token(const struct identity *user, const char *name)
{
    size_t i = 0;
    while (i < user->token_count && strcmp(user->tokens[i].name, name) != 0)
        i++;
    return i;
}

static beck_status add_token(struct access *a, const struct identity *user, const char *name,
                             const uint8_t digest[SECRET_DIGEST], beck_error *err)
{
    struct token tokens[ACCESS_TOKENS_MAX];
    if (find_token(user, name) < user->token_count)
        return error_set(err, BECK_EEXIST,
                         "user \"%s\" has a token \"%s\"; revoke it first, or use another name",
                         user->name, name);
    if (user->token_count == ACCESS_TOKENS_MAX)
        return error_set(err, BECK_ELIMIT, "user \"%s\" has %d tokens; revoke one first",
                         user->name, ACCESS_TOKENS_MAX);
    memcpy(tokens, user->tokens, user->token_count * sizeof *tokens);
    tokens[user->token_count] = (struct token){.name = (char *)(uintptr_t)name};
    memcpy(tokens[user->token_count].digest, digest, SECRET_DIGEST);
    struct access_change same = {.name = user->name};
    return change(a, &same, user, NULL, tokens, user->token_count + 1, err);
}

beck_status access_make_token(struct access *a, const char *user, const char *token_name,
                              char out[ACCESS_TOKEN_SIZE], beck_error *err)
{
    char text[ACCESS_TOKEN_SIZE];
    uint8_t digest[SECRET_DIGEST];
    beck_status status = user_name_check("token", token_name, err);
    if (!status && a->b->remote)
        return remote_token_make(a->b->remote, user, token_name, out, ACCESS_TOKEN_SIZE, err);
    if (!status)
        status = token_make(text, digest, err);
    if (status)
        return status;
    mutex_lock(&a->change_lock);
    struct identity *old = find_user(a, beck_str(user));
    status = old ? add_token(a, old, token_name, digest, err) : no_user(user, err);
    mutex_unlock(&a->change_lock);
    identity_release(old);
    if (!status)
        memcpy(out, text, sizeof text);
    return status;
}

static beck_status drop_token(struct access *a, const struct identity *user, const char *name,
                              beck_error *err)
{
    struct token tokens[ACCESS_TOKENS_MAX];
    size_t at = find_token(user, name), count = 0;
    if (at == user->token_count)
        return error_set(err, BECK_ENOENT, "user \"%s\" has no token \"%.140s\"", user->name, name);
    for (size_t i = 0; i < user->token_count; i++)
        if (i != at)
            tokens[count++] = user->tokens[i];
    struct access_change same = {.name = user->name};
    return change(a, &same, user, NULL, tokens, count, err);
}

beck_status access_revoke_token(struct access *a, const char *user, const char *token_name,
                                beck_error *err)
{
    if (a->b->remote)
        return remote_token_revoke(a->b->remote, user, token_name, err);
    mutex_lock(&a->change_lock);
    struct identity *old = find_user(a, beck_str(user));
    beck_status status =
        old ? drop_token(a, old, token_name ? token_name : "", err) : no_user(user, err);
    mutex_unlock(&a->change_lock);
    identity_release(old);
    return status;
}
