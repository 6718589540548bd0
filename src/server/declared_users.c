/* Users that the configuration declares: they become what it says. */
#include "access/secret.h"
#include "access/user.h"
#include "server/config.h"
#include "server/declared.h"
#include <stdio.h>

struct found_user {
    const char *name;
    const struct access_rule *rules; /* that are wanted */
    size_t rule_count;
    bool found, same_rules;
    char hash[PASSWORD_TEXT_MAX];
};

static bool is_rule(const struct access_rule *a, const struct access_rule *b)
{
    return a->kind == b->kind && a->rights == b->rights &&
           (a->kind == ACCESS_SERVER || strcmp(a->pattern, b->pattern) == 0);
}

static int look(void *ctx, const struct access_user *user)
{
    struct found_user *f = ctx;
    if (strcmp(f->name, user->name) != 0) {
        return 0;
    }
    f->found = true;
    f->same_rules = f->rule_count == user->rule_count;
    for (size_t i = 0; i < f->rule_count && f->same_rules; i++) {
        f->same_rules = is_rule(&f->rules[i], &user->rules[i]);
    }
    snprintf(f->hash, sizeof f->hash, "%s", user->password_hash);
    return 1;
}

static beck_status has_password(const struct found_user *f, const char *text, bool *right,
                                beck_error *err)
{
    struct password password;
    *right = false;
    return password_read(beck_str(f->hash), &password)
               ? password_check(&password, beck_str(text), right, err)
               : BECK_OK;
}

static beck_status apply_user(struct access *access, struct log *log,
                              const struct user_setting *user, beck_error *err)
{
    struct access_rule rules[ACCESS_RULES_MAX];
    struct found_user f = {.name = user->record.name, .rules = rules};
    bool right = false;
    f.rule_count = config_rules(user, rules);
    beck_status status = access_list_users(access, look, &f, err);
    if (!status && f.found) {
        status = has_password(&f, user->password, &right, err);
    }
    if (status || (f.found && right && f.same_rules)) {
        return status;
    }
    const struct access_change change = {.name = f.name,
                                         .password =
                                             right ? (beck_bytes){0} : beck_str(user->password),
                                         .even_last = true,
                                         .rules = rules,
                                         .rule_count = f.rule_count};
    status = access_change_user(access, &change, err);
    if (!status && !f.found) {
        LOG(log, LEVEL_INFO, "user made", LOG_TEXT("user", f.name));
    } else if (!status) {
        LOG(log, LEVEL_INFO, "user changed", LOG_TEXT("user", f.name),
            LOG_TEXT("what", right          ? "rights"
                             : f.same_rules ? "password"
                                            : "password, rights"));
    }
    return status;
}

static bool is_declared(const struct settings *s, const char *name)
{
    const struct user_setting *users = s->users.at;
    bool found = false;
    for (size_t i = 0; i < s->users.count && !found; i++) {
        found = strcmp(users[i].record.name, name) == 0;
    }
    return found;
}

beck_status declared_users(const struct settings *s, const struct settings *before,
                           struct access *access, struct log *log, beck_error *err)
{
    const struct user_setting *users = s->users.at;
    beck_status first = BECK_OK;
    for (size_t i = 0; i < s->users.count; i++) {
        beck_error why;
        const struct record *record = &users[i].record;
        beck_status status = apply_user(access, log, &users[i], &why);
        if (status) {
            LOG(log, LEVEL_ERROR, "what the configuration declares cannot be had",
                LOG_TEXT("user", record->name), LOG_TEXT("at", record->source),
                LOG_TEXT("error", why.text));
        }
        if (status && !first) {
            first = error_set(err, status, "%s: user '%.200s': %s", record->source, record->name,
                              why.text);
        }
    }
    const struct user_setting *old = before ? before->users.at : NULL;
    for (size_t i = 0; before && i < before->users.count; i++) {
        if (!is_declared(s, old[i].record.name)) {
            LOG(log, LEVEL_WARN,
                "a user is not declared any more, and stays: beck user delete ends that",
                LOG_TEXT("user", old[i].record.name));
        }
    }
    return first;
}
