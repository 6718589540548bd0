/* /v1/users and /v1/whoami: users, their permissions and tokens. */
#include "wire/http/document.h"

#include "base/error.h"

static void answer_done(struct http_request *r, beck_status status, const beck_error *err)
{
    if (status)
        http_fail(r, status, err);
    else
        http_answer(r, 204, NULL, NULL);
}

/* ---- rules ---- */

/* False, after answering: a rule is for exactly one of bus, queue and server. */
static bool read_rule(struct http_request *r, const struct api_rule *in, struct access_rule *out)
{
    if ((in->bus != NULL) + (in->queue != NULL) + in->server != 1) {
        http_refuse(r, 400,
                    "a rule has one of \"bus\", \"queue\" and \"server\": true; this one "
                    "has none or several");
        return false;
    }
    out->kind = in->bus ? ACCESS_BUS : in->queue ? ACCESS_QUEUE : ACCESS_SERVER;
    out->pattern = in->bus ? in->bus : in->queue;
    out->rights = in->rights;
    return true;
}

static void show_rule(const struct access_rule *in, struct api_rule *out)
{
    *out = (struct api_rule){.server = in->kind == ACCESS_SERVER, .rights = in->rights};
    if (in->kind == ACCESS_BUS)
        out->bus = in->pattern;
    else if (in->kind == ACCESS_QUEUE)
        out->queue = in->pattern;
}

/* ---- showing ---- */

struct listing {
    const char *only; /* NULL: all */
    struct document_list list;
    struct buf one; /* of `only` */
    bool found;
};

static beck_status write_user(const struct access_user *user, struct listing *l)
{
    struct api_rule rules[ACCESS_RULES_MAX];
    struct api_user shown = {.name = user->name,
                             .has_password = user->has_password,
                             .rules = rules,
                             .rule_count = user->rule_count,
                             .tokens = (const char **)(uintptr_t)user->tokens,
                             .token_count = user->token_count};
    for (size_t i = 0; i < user->rule_count; i++)
        show_rule(&user->rules[i], &rules[i]);
    if (l->only)
        return shape_write(&shape_user, &shown, &l->one);
    document_list_add(&l->list, &shape_user, &shown);
    return l->list.status;
}

static int list_one(void *ctx, const struct access_user *user)
{
    struct listing *l = ctx;
    if (l->only && strcmp(l->only, user->name) != 0)
        return 0;
    l->found = true;
    l->list.status = write_user(user, l);
    return l->only || l->list.status;
}

static void list_users(struct http_request *r)
{
    struct listing l = {0};
    document_list_init(&l.list, "users");
    if (!l.list.status)
        l.list.status = access_list_users(http_of(r)->access, list_one, &l, &l.list.err);
    document_list_answer(&l.list, r);
}

static void answer_user(struct http_request *r, int http_status)
{
    struct listing l = {.only = http_path(r, 0)};
    beck_error err;
    buf_init(&l.one, DOCUMENT_ANSWER_MAX);
    beck_status status = access_list_users(http_of(r)->access, list_one, &l, &err);
    if (!status && l.list.status)
        status = error_set(&err, l.list.status, "no memory for the answer");
    if (!status && !l.found)
        status = error_set(&err, BECK_ENOENT, "there is no user \"%.140s\"", l.only);
    if (status)
        http_fail(r, status, &err);
    else
        http_answer(r, http_status, "application/json", &l.one);
    buf_release(&l.one);
}

static void show_user(struct http_request *r)
{
    answer_user(r, 200);
}

/* ---- changing ---- */

static int note_name(void *ctx, const struct access_user *user)
{
    const char **name = ctx;
    if (strcmp(*name, user->name) != 0)
        return 0;
    *name = NULL;
    return 1;
}

static void put_user(struct http_request *r)
{
    struct access *access = http_of(r)->access;
    struct api_user_spec spec;
    struct access_rule rules[API_RULES_MAX];
    const char *name = http_path(r, 0);
    beck_error err;
    if (!document_read(r, &shape_user_spec, &spec))
        return;
    for (size_t i = 0; i < spec.rule_count; i++)
        if (!read_rule(r, &spec.rules[i], &rules[i]))
            return;
    const char *new_name = name;
    beck_status status = access_list_users(access, note_name, &new_name, &err);
    if (!status)
        status = access_put_user(access, name, beck_str(spec.password), spec.rules ? rules : NULL,
                                 spec.rule_count, &err);
    if (status)
        http_fail(r, status, &err);
    else
        answer_user(r, new_name ? 201 : 200);
}

static void delete_user(struct http_request *r)
{
    beck_error err;
    answer_done(r, access_delete_user(http_of(r)->access, http_path(r, 0), &err), &err);
}

static void make_token(struct http_request *r)
{
    struct api_token_spec spec;
    char text[ACCESS_TOKEN_SIZE];
    beck_error err;
    if (!document_read(r, &shape_token_spec, &spec))
        return;
    beck_status status =
        access_make_token(http_of(r)->access, http_path(r, 0), spec.name, text, &err);
    http_set_header(r, "Cache-Control", "no-store");
    if (status)
        http_fail(r, status, &err);
    else
        document_answer(r, 201, &shape_token, &(struct api_token){text});
}

static void revoke_token(struct http_request *r)
{
    beck_error err;
    answer_done(r, access_revoke_token(http_of(r)->access, http_path(r, 0), http_path(r, 1), &err),
                &err);
}

static void whoami(struct http_request *r)
{
    const struct identity *i = http_identity(r);
    struct api_caller caller = {identity_name(i),
                                identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL)};
    document_answer(r, 200, &shape_caller, &caller);
}

const struct http_route http_routes_users[] = {
    {"GET", "/v1/users", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, list_users, "listUsers",
     "All users with their rules and the names of their tokens", NULL, NULL, "Users"},
    {"GET", "/v1/users/{user}", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, show_user, "getUser",
     "A user", NULL, NULL, "User"},
    {"PUT", "/v1/users/{user}", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, put_user, "putUser",
     "Makes (201) or changes (200) a user", NULL, "UserSpec", "User"},
    {"DELETE", "/v1/users/{user}", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, delete_user,
     "deleteUser", "Deletes a user with all tokens", NULL, NULL, NULL},
    {"POST", "/v1/users/{user}/tokens", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER, make_token,
     "makeToken", "Makes a token, which is shown only in this answer (201)", NULL, "TokenSpec",
     "Token"},
    {"DELETE", "/v1/users/{user}/tokens/{token}", HTTP_POOL, ACCESS_ADMIN, ACCESS_SERVER,
     revoke_token, "revokeToken", "Revokes a token", NULL, NULL, NULL},
    {"GET", "/v1/whoami", HTTP_INLINE, HTTP_NAMED, ACCESS_SERVER, whoami, "whoami",
     "Who the caller is", NULL, NULL, "Caller"},
    {0}};
