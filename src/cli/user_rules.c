/* Rules as people write them: see user_rules.h. */
#include "cli/user_rules.h"
#include <stdlib.h>

static const struct {
    const char *name;
    uint32_t right;
} rights[] = {{"publish", ACCESS_PUBLISH}, {"read", ACCESS_READ},
              {"work", ACCESS_WORK},       {"admin", ACCESS_ADMIN},
              {"create", ACCESS_CREATE},   {"describe", ACCESS_DESCRIBE}};
#define RIGHTS (sizeof rights / sizeof *rights)

static uint32_t find_right(const char *name, size_t len)
{
    for (size_t i = 0; i < RIGHTS; i++) {
        if (strlen(rights[i].name) == len && memcmp(rights[i].name, name, len) == 0) {
            return rights[i].right;
        }
    }
    return 0;
}

/* "publish,read"; 0: one of them is no right. */
static uint32_t read_rights(const char *text)
{
    uint32_t all = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        uint32_t one = find_right(text, len);
        if (!one) {
            return 0;
        }
        all |= one;
        if (!text[len]) {
            return all;
        }
        text += len + 1;
    }
}

/* 0: no memory or no rule. What is wrong with the pattern is found when it is used. */
static bool read_rule(const char *text, struct access_rule *out)
{
    const char *equals = strrchr(text, '=');
    if (!equals || !(out->rights = read_rights(equals + 1))) {
        return false;
    }
    size_t kind = strncmp(text, "bus:", 4) == 0 ? 4 : strncmp(text, "queue:", 6) == 0 ? 6 : 0;
    if (kind) {
        out->kind = kind == 4 ? ACCESS_BUS : ACCESS_QUEUE;
        out->pattern = strndup(text + kind, (size_t)(equals - text) - kind);
        return out->pattern != NULL;
    }
    out->kind = ACCESS_SERVER;
    return equals - text == 6 && memcmp(text, "server", 6) == 0;
}

struct access_rule *user_rules_read(const struct call *call, const char *const *texts, size_t count)
{
    struct access_rule *rules = calloc(count + 1, sizeof *rules);
    if (!rules) {
        call_error(call, EXIT_FAILED, "no memory for rules");
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_rule(texts[i], &rules[i])) {
            call_usage(call,
                       "'%s' is no rule: write bus:PATTERN=RIGHTS, queue:PATTERN=RIGHTS or "
                       "server=RIGHTS, with rights of publish, read, work, admin, create, describe",
                       texts[i]);
            user_rules_free(rules, count);
            return NULL;
        }
    }
    return rules;
}

void user_rules_free(struct access_rule *rules, size_t count)
{
    for (size_t i = 0; rules && i < count; i++) {
        free((char *)(uintptr_t)rules[i].pattern);
    }
    free(rules);
}

beck_status user_rights_text(uint32_t held, const char *quote, struct buf *out)
{
    beck_status status = BECK_OK;
    bool any = false;
    for (size_t i = 0; i < RIGHTS && !status; i++) {
        if (held & rights[i].right) {
            status = buf_printf(out, "%s%s%s%s", any ? "," : "", quote, rights[i].name, quote);
            any = true;
        }
    }
    return status;
}

beck_status user_rule_text(const struct access_rule *rule, struct buf *out)
{
    beck_status status =
        rule->kind == ACCESS_SERVER
            ? buf_append_text(out, "server=")
            : buf_printf(out, "%s:%s=", rule->kind == ACCESS_BUS ? "bus" : "queue", rule->pattern);
    return status ? status : user_rights_text(rule->rights, "", out);
}
