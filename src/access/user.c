/* Users as records, and what they may do: see user.h. */
#include "access/user.h"

#include "bus/bus.h"
#include "bus/own_bus.h"
#include "event/json.h"

#include <assert.h>
#include <stdlib.h>

#define PATTERN_MAX 249 /* of a bus's name */

const char *const user_right_names[USER_RIGHTS] = {"publish", "read",   "work",
                                                   "admin",   "create", "describe"};
static const char *const kind_names[] = {"server", "bus", "queue"};

/* ---- life ---- */

static void free_identity(struct identity *i)
{
    for (size_t n = 0; i->rules && n < i->rule_count; n++)
        free((char *)(uintptr_t)i->rules[n].pattern);
    for (size_t n = 0; i->tokens && n < i->token_count; n++)
        free(i->tokens[n].name);
    free(i->rules);
    free(i->tokens);
    free(i->name);
    free(i->tags);
    free(i);
}

static bool copy_rules(struct identity *i, const struct access_rule *rules, size_t count)
{
    i->rules = calloc(count + 1, sizeof *i->rules);
    if (!i->rules)
        return false;
    for (; i->rule_count < count; i->rule_count++) {
        const struct access_rule *from = &rules[i->rule_count];
        struct access_rule *to = &i->rules[i->rule_count];
        *to = (struct access_rule){.kind = from->kind, .rights = from->rights};
        if (from->kind != ACCESS_SERVER && !(to->pattern = strdup(from->pattern)))
            return false;
    }
    return true;
}

static bool copy_tokens(struct identity *i, const struct token *tokens, size_t count)
{
    i->tokens = calloc(count + 1, sizeof *i->tokens);
    if (!i->tokens)
        return false;
    for (; i->token_count < count; i->token_count++) {
        struct token *to = &i->tokens[i->token_count];
        *to = (struct token){.name = strdup(tokens[i->token_count].name), .user = i};
        memcpy(to->digest, tokens[i->token_count].digest, SECRET_DIGEST);
        if (!to->name)
            return false;
    }
    return true;
}

struct identity *identity_new(const char *name, const struct password *password, const char *tags,
                              const struct access_rule *rules, size_t rule_count,
                              const struct token *tokens, size_t token_count)
{
    struct identity *i = calloc(1, sizeof *i);
    if (!i)
        return NULL;
    atomic_init(&i->refs, 1);
    i->name = strdup(name);
    i->tags = strdup(tags);
    i->has_password = password != NULL;
    if (password)
        i->password = *password;
    if (i->name && i->tags && copy_rules(i, rules, rule_count) &&
        copy_tokens(i, tokens, token_count))
        return i;
    free_identity(i);
    return NULL;
}

struct identity *identity_retain(struct identity *i)
{
    atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
    return i;
}

void identity_release(struct identity *i)
{
    if (!i)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free_identity(i);
}

/* ---- rights ---- */

const char *identity_name(const struct identity *i)
{
    return i->name;
}

const char *identity_tags(const struct identity *i)
{
    return i->tags;
}

bool identity_has_tag(const struct identity *i, const char *tag)
{
    size_t len = strlen(tag);
    for (const char *at = i->tags; *at;) {
        size_t part = strcspn(at, ",");
        if (part == len && memcmp(at, tag, len) == 0)
            return true;
        at += part + (at[part] == ',');
    }
    return false;
}

bool identity_is_stale(const struct identity *i)
{
    return atomic_load_explicit(&i->stale, memory_order_acquire);
}

/* Goes back to the last `*` only: whatever an earlier one could take, the last one can as well. */
bool user_pattern_matches(const char *pattern, const char *name)
{
    const char *star = NULL, *after = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            after = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++after;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}

static bool rule_holds(const struct access_rule *rule, enum access_kind kind, const char *name)
{
    if (rule->kind == ACCESS_SERVER)
        return true;
    return rule->kind == kind && user_pattern_matches(rule->pattern, name);
}

/* With those that are part of them. Who may only make buses sees none, as in Kafka. */
static uint32_t all_rights(uint32_t rights)
{
    if (rights & ACCESS_ADMIN)
        rights |= ACCESS_CREATE;
    if (rights & ~(uint32_t)ACCESS_CREATE)
        rights |= ACCESS_DESCRIBE;
    return rights;
}

bool identity_may(const struct identity *i, enum access_right right, enum access_kind kind,
                  const char *name)
{
    if (i->everything)
        return true;
    bool own = kind == ACCESS_BUS && own_bus_is_name(name);
    uint32_t missing = (uint32_t)right;
    for (size_t n = 0; n < i->rule_count; n++) {
        const struct access_rule *rule = &i->rules[n];
        if (rule->kind == ACCESS_SERVER && (rule->rights & ACCESS_ADMIN))
            return true;
        if (!own && rule_holds(rule, kind, name))
            missing &= ~all_rights(rule->rights);
    }
    return missing == 0;
}

/* ---- checks ---- */

static bool is_letter(char c, const char *more)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr(more, c));
}

beck_status user_name_check(const char *what, const char *name, beck_error *err)
{
    size_t len = name ? strlen(name) : 0;
    bool legal = len > 0 && len <= ACCESS_NAME_MAX;
    for (size_t i = 0; legal && i < len; i++)
        legal = is_letter(name[i], "._@+-");
    if (legal)
        return BECK_OK;
    return error_set(err, BECK_EINVAL,
                     "\"%.140s\" is no name of a %s; use 1 to %d of A-Z a-z 0-9 . _ @ + -",
                     name ? name : "", what, ACCESS_NAME_MAX);
}

beck_status user_tags_check(const char *tags, beck_error *err)
{
    size_t len = strlen(tags);
    bool legal = len <= ACCESS_TAGS_MAX;
    for (size_t i = 0; legal && i < len; i++)
        legal = is_letter(tags[i], "._-,");
    if (legal)
        return BECK_OK;
    return error_set(
        err, BECK_EINVAL,
        "\"%.140s\" are no tags of a user; use up to %d of A-Z a-z 0-9 . _ - with commas "
        "between tags",
        tags, ACCESS_TAGS_MAX);
}

static beck_status check_pattern(const struct access_rule *rule, beck_error *err)
{
    const char *pattern = rule->pattern;
    size_t len = pattern ? strlen(pattern) : 0;
    bool legal = len > 0 && len <= PATTERN_MAX;
    for (size_t i = 0; legal && i < len; i++)
        legal = is_letter(pattern[i], "._-*");
    if (legal)
        return BECK_OK;
    return error_set(err, BECK_EINVAL,
                     "\"%.260s\" is no pattern of %s names; use 1 to %d of A-Z a-z 0-9 . _ - and * "
                     "for any characters",
                     pattern ? pattern : "", kind_names[rule->kind], PATTERN_MAX);
}

/* What a right means nothing for is refused, so that nobody takes it for granted. */
static beck_status check_rights(const struct access_rule *rule, beck_error *err)
{
    static const uint32_t allowed[] = {[ACCESS_SERVER] = (1u << USER_RIGHTS) - 1,
                                       [ACCESS_BUS] = ACCESS_PUBLISH | ACCESS_READ | ACCESS_ADMIN |
                                                      ACCESS_CREATE | ACCESS_DESCRIBE,
                                       [ACCESS_QUEUE] = ACCESS_READ | ACCESS_WORK | ACCESS_ADMIN |
                                                        ACCESS_DESCRIBE};
    static const char *const words[] = {"publish, read, work, admin, create, describe",
                                        "publish, read, admin, create, describe",
                                        "read, work, admin, describe"};
    if (rule->rights && !(rule->rights & ~allowed[rule->kind]))
        return BECK_OK;
    return error_set(err, BECK_EINVAL, "a rule on %s%s%s needs rights of: %s",
                     rule->kind == ACCESS_SERVER ? "the server" : kind_names[rule->kind],
                     rule->kind == ACCESS_SERVER ? "" : " ",
                     rule->kind == ACCESS_SERVER ? "" : rule->pattern, words[rule->kind]);
}

beck_status user_rules_check(const struct access_rule *rules, size_t count, beck_error *err)
{
    if (count > ACCESS_RULES_MAX)
        return error_set(err, BECK_ELIMIT, "a user has at most %d rules; use patterns",
                         ACCESS_RULES_MAX);
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++) {
        if ((unsigned)rules[i].kind > ACCESS_QUEUE)
            return error_set(err, BECK_EINVAL, "a rule is on a bus, a queue or the server");
        if (rules[i].kind != ACCESS_SERVER)
            status = check_pattern(&rules[i], err);
        if (!status)
            status = check_rights(&rules[i], err);
    }
    return status;
}

/* ---- the record, written ---- */

static beck_status write_rule(const struct access_rule *rule, struct buf *out)
{
    beck_status status = buf_printf(out, "{\"%s\":", kind_names[rule->kind]);
    if (!status)
        status = rule->kind == ACCESS_SERVER ? buf_append_text(out, "true")
                                             : json_write_string(out, beck_str(rule->pattern));
    if (!status)
        status = buf_append_text(out, ",\"rights\":[");
    bool any = false;
    for (int i = 0; i < USER_RIGHTS && !status; i++) {
        if (rule->rights & (1u << i)) {
            status = buf_printf(out, "%s\"%s\"", any ? "," : "", user_right_names[i]);
            any = true;
        }
    }
    return status ? status : buf_append_text(out, "]}");
}

static beck_status write_token(const struct token *token, struct buf *out)
{
    beck_status status = buf_append_text(out, "{\"name\":");
    if (!status)
        status = json_write_string(out, beck_str(token->name));
    if (!status)
        status = buf_append_text(out, ",\"sha256\":\"");
    if (!status)
        status = base64_write(out, bytes_of(token->digest, SECRET_DIGEST));
    return status ? status : buf_append_text(out, "\"}");
}

static const char *const scram_members[SCRAM_HASHES] = {"scram-sha-256", "scram-sha-512"};

static beck_status write_password(const struct password *p, struct buf *out)
{
    beck_status status = buf_append_text(out, "\"password\":\"");
    if (!status)
        status = password_write(p, out);
    for (int i = 0; i < SCRAM_HASHES && p->has_scram && !status; i++) {
        status = buf_printf(out, "\",\"%s\":\"", scram_members[i]);
        if (!status)
            status = scram_write(&p->scram[i], (enum scram_hash)i, out);
    }
    return status ? status : buf_append_text(out, "\",");
}

beck_status user_write(const struct identity *i, struct buf *out)
{
    beck_status status = buf_append_text(out, "{");
    if (!status && i->has_password)
        status = write_password(&i->password, out);
    if (!status && i->tags[0])
        status = buf_printf(out, "\"tags\":\"%s\",", i->tags);
    if (!status)
        status = buf_append_text(out, "\"rules\":[");
    for (size_t n = 0; n < i->rule_count && !status; n++) {
        status = n ? buf_append_byte(out, ',') : BECK_OK;
        if (!status)
            status = write_rule(&i->rules[n], out);
    }
    if (!status)
        status = buf_append_text(out, "],\"tokens\":[");
    for (size_t n = 0; n < i->token_count && !status; n++) {
        status = n ? buf_append_byte(out, ',') : BECK_OK;
        if (!status)
            status = write_token(&i->tokens[n], out);
    }
    return status ? status : buf_append_text(out, "]}");
}

/* ---- the record, read ---- */

/* What was read so far; freed by draft_free. */
struct draft {
    struct json_reader r;
    bool no_memory;
    bool has_password;
    struct password password;
    bool has_scram[SCRAM_HASHES];
    struct access_scram scram[SCRAM_HASHES];
    char *tags;
    struct access_rule rules[ACCESS_RULES_MAX];
    size_t rule_count;
    struct token tokens[ACCESS_TOKENS_MAX];
    size_t token_count;
};

static void draft_free(struct draft *d)
{
    for (size_t i = 0; i < d->rule_count; i++)
        free((char *)(uintptr_t)d->rules[i].pattern);
    for (size_t i = 0; i < d->token_count; i++)
        free(d->tokens[i].name);
    free(d->tags);
    free(d);
}

/* The next token, which must be of that kind. */
static bool expect(struct draft *d, enum json_kind kind, struct json_token *t)
{
    return !json_next(&d->r, t, NULL) && t->kind == kind;
}

/* No string of a record needs an escape. */
static bool read_text(struct draft *d, beck_bytes *out)
{
    struct json_token t;
    if (!expect(d, JSON_STRING, &t) || t.escaped)
        return false;
    *out = t.raw;
    return true;
}

static bool copy_text(struct draft *d, char **out)
{
    beck_bytes text;
    if (*out || !read_text(d, &text))
        return false;
    *out = strndup(text.data, text.len);
    d->no_memory |= *out == NULL;
    return *out != NULL;
}

/* Steps to the next member of an object: 1, its name is in *t; 0, the object ended; -1, no. */
static int next_member(struct draft *d, struct json_token *t)
{
    if (json_next(&d->r, t, NULL))
        return -1;
    return t->kind == JSON_NAME ? 1 : t->kind == JSON_OBJECT_END ? 0 : -1;
}

static bool skip(struct draft *d)
{
    beck_bytes raw;
    return !json_skip_value(&d->r, &raw, NULL);
}

static bool read_rights(struct draft *d, uint32_t *rights)
{
    struct json_token t;
    bool good = expect(d, JSON_ARRAY, &t);
    while (good && !json_next(&d->r, &t, NULL) && t.kind == JSON_STRING) {
        int bit = 0;
        while (bit < USER_RIGHTS && !bytes_equal_text(t.raw, user_right_names[bit]))
            bit++;
        good = bit < USER_RIGHTS;
        *rights |= good ? 1u << bit : 0;
    }
    return good && t.kind == JSON_ARRAY_END;
}

/* `{` was read. */
static bool read_rule(struct draft *d)
{
    struct json_token t;
    int more;
    if (d->rule_count == ACCESS_RULES_MAX)
        return false;
    struct access_rule *rule = &d->rules[d->rule_count++];
    *rule = (struct access_rule){.kind = ACCESS_SERVER};
    while ((more = next_member(d, &t)) > 0) {
        bool good;
        if (bytes_equal_text(t.raw, "bus") || bytes_equal_text(t.raw, "queue")) {
            char *pattern = NULL;
            rule->kind = bytes_equal_text(t.raw, "bus") ? ACCESS_BUS : ACCESS_QUEUE;
            good = !rule->pattern && copy_text(d, &pattern);
            if (good)
                rule->pattern = pattern;
        } else if (bytes_equal_text(t.raw, "rights")) {
            good = read_rights(d, &rule->rights);
        } else {
            good = skip(d);
        }
        if (!good)
            return false;
    }
    return more == 0;
}

static bool read_token(struct draft *d)
{
    struct json_token t;
    int more;
    bool has_digest = false;
    if (d->token_count == ACCESS_TOKENS_MAX)
        return false;
    struct token *token = &d->tokens[d->token_count++];
    *token = (struct token){0};
    while ((more = next_member(d, &t)) > 0) {
        bool good;
        if (bytes_equal_text(t.raw, "name")) {
            good = copy_text(d, &token->name);
        } else if (bytes_equal_text(t.raw, "sha256")) {
            uint8_t decoded[64];
            size_t len = 0;
            beck_bytes text;
            good = read_text(d, &text) && text.len <= sizeof decoded &&
                   base64_read_to(text, decoded, &len) && len == SECRET_DIGEST;
            if (good)
                memcpy(token->digest, decoded, SECRET_DIGEST);
            has_digest = good;
        } else {
            good = skip(d);
        }
        if (!good)
            return false;
    }
    return more == 0 && token->name && has_digest;
}

static bool read_list(struct draft *d, bool (*read_one)(struct draft *d))
{
    struct json_token t;
    bool good = expect(d, JSON_ARRAY, &t);
    while (good && !json_next(&d->r, &t, NULL) && t.kind == JSON_OBJECT)
        good = read_one(d);
    return good && t.kind == JSON_ARRAY_END;
}

/* Whether it is one of these members; *good: it could be read. */
static bool read_scram(struct draft *d, beck_bytes name, bool *good)
{
    beck_bytes text;
    for (int i = 0; i < SCRAM_HASHES; i++)
        if (bytes_equal_text(name, scram_members[i])) {
            *good = d->has_scram[i] =
                read_text(d, &text) && scram_read(text, (enum scram_hash)i, &d->scram[i]);
            return true;
        }
    return false;
}

/* Both, or it is as if there were none. */
static void take_scram(struct draft *d)
{
    d->password.has_scram = d->has_password && d->has_scram[0] && d->has_scram[1];
    if (d->password.has_scram)
        memcpy(d->password.scram, d->scram, sizeof d->scram);
}

static bool read_record(struct draft *d)
{
    struct json_token t;
    int more;
    if (!expect(d, JSON_OBJECT, &t))
        return false;
    while ((more = next_member(d, &t)) > 0) {
        bool good;
        beck_bytes text;
        if (bytes_equal_text(t.raw, "password"))
            good = d->has_password = read_text(d, &text) && password_read(text, &d->password);
        else if (read_scram(d, t.raw, &good))
            ;
        else if (bytes_equal_text(t.raw, "tags"))
            good = copy_text(d, &d->tags);
        else if (bytes_equal_text(t.raw, "rules"))
            good = read_list(d, read_rule);
        else if (bytes_equal_text(t.raw, "tokens"))
            good = read_list(d, read_token);
        else
            good = skip(d);
        if (!good)
            return false;
    }
    take_scram(d);
    return more == 0 && !json_next(&d->r, &t, NULL) && t.kind == JSON_END;
}

beck_status user_read(const char *name, beck_bytes json, struct identity **out, beck_error *err)
{
    beck_status status = BECK_OK;
    struct draft *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(err, BECK_ENOMEM, "no memory for user \"%s\"", name);
    json_reader_init(&d->r, json);
    if (user_name_check("user", name, NULL) || !read_record(d) ||
        (d->tags && user_tags_check(d->tags, NULL)) ||
        user_rules_check(d->rules, d->rule_count, NULL))
        status = error_set(err, BECK_ECORRUPT, "the record of user \"%.140s\" is none", name);
    struct identity *i = NULL;
    if (d->no_memory)
        status = error_set(err, BECK_ENOMEM, "no memory for user \"%s\"", name);
    if (!status)
        i = identity_new(name, d->has_password ? &d->password : NULL, d->tags ? d->tags : "",
                         d->rules, d->rule_count, d->tokens, d->token_count);
    if (!status && !i)
        status = error_set(err, BECK_ENOMEM, "no memory for user \"%s\"", name);
    if (!status)
        *out = i;
    draft_free(d);
    return status;
}
