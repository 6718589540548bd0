/* Users of a server, as access.h has them: see through.h. */
#include "access/through.h"

#include "base/error.h"
#include "event/api_shape.h"

#include <assert.h>
#include <string.h>

struct listing {
    int (*each)(void *ctx, const struct access_user *user);
    void *ctx;
};

static int show(void *ctx, const struct api_user *from)
{
    struct listing *l = ctx;
    struct access_rule rules[ACCESS_RULES_MAX];
    for (size_t i = 0; i < from->rule_count; i++) {
        const struct api_rule *rule = &from->rules[i];
        rules[i] = (struct access_rule){.kind = rule->bus     ? ACCESS_BUS
                                                : rule->queue ? ACCESS_QUEUE
                                                              : ACCESS_SERVER,
                                        .pattern = rule->bus ? rule->bus : rule->queue,
                                        .rights = rule->rights};
    }
    struct access_user user = {.name = from->name,
                               .has_password = from->has_password,
                               .password_hash = "",
                               .tags = "",
                               .rules = rules,
                               .rule_count = from->rule_count,
                               .tokens = from->tokens,
                               .token_count = from->token_count};
    return l->each(l->ctx, &user);
}

beck_status through_list_users(struct remote *r,
                               int (*each)(void *ctx, const struct access_user *user), void *ctx,
                               beck_error *err)
{
    static_assert(API_RULES_MAX == ACCESS_RULES_MAX, "what the server sends fits");
    struct listing l = {each, ctx};
    return remote_user_list(r, show, &l, err);
}

beck_status through_put_user(struct remote *r, const char *name, beck_bytes password,
                             const struct access_rule *rules, size_t rule_count, beck_error *err)
{
    char text[ACCESS_PASSWORD_MAX + 1];
    struct api_rule sent[ACCESS_RULES_MAX];
    struct api_user_spec spec = {.rules = rules ? sent : NULL,
                                 .rule_count = rules ? rule_count : 0};
    if (password.data && memchr(password.data, 0, password.len))
        return error_set(err, BECK_EINVAL, "a password holds no zero byte");
    for (size_t i = 0; i < spec.rule_count; i++) {
        const struct access_rule *rule = &rules[i];
        sent[i] = (struct api_rule){.bus = rule->kind == ACCESS_BUS ? rule->pattern : NULL,
                                    .queue = rule->kind == ACCESS_QUEUE ? rule->pattern : NULL,
                                    .server = rule->kind == ACCESS_SERVER,
                                    .rights = rule->rights};
    }
    if (password.data) {
        memcpy(text, password.data, password.len);
        text[password.len] = 0;
        spec.password = text;
    }
    beck_status status = remote_user_put(r, name, &spec, err);
    explicit_bzero(text, sizeof text);
    return status;
}
