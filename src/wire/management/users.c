/*
 * Users. They are the server's (access/access.h): the tag administrator is the right to administer the server,
 * other tags are kept beside. While there is no user at all, who calls is "guest"; with the first user that is
 * made through this API that one is made too, as RabbitMQ has it from the beginning.
 */
#include "wire/management/list.h"
#include "wire/management/management_impl.h"
#include "wire/management/puts.h"

#include "base/error.h"

#include <stdlib.h>

#define ADMINISTRATOR "administrator"
#define QUICK "sha256:"
#define QUICK_ALGORITHM "rabbit_password_hashing_sha256"
#define SLOW_ALGORITHM "beck_password_hashing_scrypt"

/* ---- showing ---- */

static bool is_admin(const struct access_user *u)
{
    for (size_t i = 0; i < u->rule_count; i++)
        if (u->rules[i].kind == ACCESS_SERVER && (u->rules[i].rights & ACCESS_ADMIN))
            return true;
    return false;
}

static json_t *tags_of(const struct access_user *u)
{
    json_t *list = json_array();
    bool named = false;
    for (const char *at = u->tags; *at;) {
        size_t len = strcspn(at, ",");
        named |= bytes_equal_text(bytes_of(at, len), ADMINISTRATOR);
        if (len > 0)
            json_array_append_new(list, json_of(bytes_of(at, len)));
        at += len + (at[len] == ',');
    }
    if (is_admin(u) && !named)
        json_array_append_new(list, json_string(ADMINISTRATOR));
    return list;
}

static json_t *of_user(struct call *c, const struct access_user *u)
{
    json_t *o = json_object();
    bool quick = strncmp(u->password_hash, QUICK, sizeof QUICK - 1) == 0;
    const char *hash = quick ? u->password_hash + sizeof QUICK - 1 : u->password_hash;
    json_put_word(o, "name", u->name);
    json_put_word(o, "password_hash", hash);
    json_put_word(o, "hashing_algorithm", quick || !*hash ? QUICK_ALGORITHM : SLOW_ALGORITHM);
    json_put(o, "tags", tags_of(u));
    json_put(o, "limits", json_of_limits(c, true, beck_str(u->name)));
    return o;
}

/* Who calls while there is no user. */
static const struct access_rule admin_rule = {ACCESS_SERVER, NULL, ACCESS_ADMIN};
static const struct access_user nobody = {
    .name = GUEST, .password_hash = "", .tags = "", .rules = &admin_rule, .rule_count = 1};

static bool is_open(const struct call *c)
{
    return access_user_count(call_context(c)->access) == 0;
}

/* With `nobody` while there is no other. */
static void each_user(struct call *c, int (*each)(void *ctx, const struct access_user *u),
                      void *ctx)
{
    if (is_open(c))
        each(ctx, &nobody);
    else
        access_list_users(call_context(c)->access, each, ctx, NULL);
}

struct naked {
    struct list *list;
    bool all; /* else those without permissions */
};

static int count_permission(void *ctx, const struct permission_view *p)
{
    (void)p;
    *(bool *)ctx = true;
    return 1;
}

static bool has_permissions(struct call *c, const char *user)
{
    bool any = false;
    broker_each_permission(c->b, (beck_bytes){0}, beck_str(user), count_permission, &any);
    return any;
}

static int list_user(void *ctx, const struct access_user *u)
{
    struct naked *n = ctx;
    struct call *c = n->list->c;
    return n->all || !has_permissions(c, u->name) ? list_add(n->list, of_user(c, u)) : 0;
}

static void list_users_of(struct call *c, bool all)
{
    struct list l;
    struct naked n = {&l, all};
    if (!list_begin(&l, c))
        return;
    each_user(c, list_user, &n);
    list_answer(&l);
}

static void list_users(struct call *c)
{
    list_users_of(c, true);
}

static void list_users_without_permissions(struct call *c)
{
    list_users_of(c, false);
}

struct found {
    struct call *c;
    beck_bytes name;
    json_t *object;
};

static int find_user(void *ctx, const struct access_user *u)
{
    struct found *f = ctx;
    if (!bytes_equal_text(f->name, u->name))
        return 0;
    f->object = of_user(f->c, u);
    return 1;
}

static void show_user(struct call *c)
{
    struct found f = {.c = c, .name = call_name(c, 0)};
    each_user(c, find_user, &f);
    if (f.object)
        answer_json(c, 200, list_columns(c, f.object));
    else
        answer_not_found(c);
}

struct exporting {
    struct call *c;
    json_t *to;
};

static int export_user(void *ctx, const struct access_user *u)
{
    struct exporting *e = ctx;
    json_array_append_new(e->to, of_user(e->c, u));
    return 0;
}

/* Not `nobody`: it has no password to import. */
void users_export(struct call *c, json_t *to)
{
    struct exporting e = {c, to};
    if (!is_open(c))
        access_list_users(call_context(c)->access, export_user, &e, NULL);
}

/* ---- putting ---- */

/* What a user has already, to be kept. */
struct before {
    beck_bytes name;
    bool found;
    struct access_rule rules[ACCESS_RULES_MAX + 1];
    size_t count;
};

static int note_user(void *ctx, const struct access_user *u)
{
    struct before *b = ctx;
    if (!bytes_equal_text(b->name, u->name))
        return 0;
    b->found = true;
    for (size_t i = 0; i < u->rule_count; i++) {
        b->rules[b->count] = u->rules[i];
        b->rules[b->count].pattern = u->rules[i].pattern ? strdup(u->rules[i].pattern) : NULL;
        b->count++;
    }
    return 1;
}

static void set_admin(struct before *b, bool admin)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (b->rules[i].kind == ACCESS_SERVER)
            b->rules[i].rights &= ~(uint32_t)ACCESS_ADMIN;
        if (b->rules[i].rights)
            b->rules[kept++] = b->rules[i];
        else
            free((char *)(uintptr_t)b->rules[i].pattern);
    }
    b->count = kept;
    if (admin)
        b->rules[b->count++] = admin_rule;
}

static void before_release(struct before *b)
{
    for (size_t i = 0; i < b->count; i++)
        free((char *)(uintptr_t)b->rules[i].pattern);
}

/* Tags with commas between them, of a list or such a text. False, after answering. */
static bool read_tags(struct call *c, const json_t *from, struct buf *out, bool *admin)
{
    const json_t *given = json_object_get(from, "tags");
    json_t *list = json_is_array(given) ? json_incref((json_t *)(uintptr_t)given) : json_array();
    const char *at = json_string_value(given);
    buf_init(out, ACCESS_TAGS_MAX + 1);
    while (at && *at) {
        size_t blank = strspn(at, " "), len = strcspn(at, ",");
        if (len > blank)
            json_array_append_new(list, json_of(bytes_of(at + blank, len - blank)));
        at += len + (at[len] == ',');
    }
    beck_status status = given ? BECK_OK : BECK_EINVAL;
    if (status)
        error_set(&c->err, status, "key_missing: tags");
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        beck_bytes tag = json_slice(json_array_get(list, i));
        *admin |= bytes_equal_text(tag, ADMINISTRATOR);
        status = i ? buf_append_byte(out, ',') : BECK_OK;
        if (!status)
            status = buf_append(out, tag.data, tag.len);
        if (status)
            error_set(&c->err, BECK_EINVAL, "the tags of a user have at most %d bytes",
                      ACCESS_TAGS_MAX);
    }
    json_decref(list);
    if (!status && (status = buf_terminate(out)))
        error_set(&c->err, status, "no memory for the tags");
    if (status)
        answer_status(c, BECK_EINVAL);
    return !status;
}

/* The hash as access keeps it. False, after answering. */
static bool read_hash(struct call *c, const json_t *from, struct buf *out)
{
    beck_bytes hash, algorithm;
    buf_init(out, 1024);
    if (!body_text(c, from, "password_hash", "", &hash) ||
        !body_text(c, from, "hashing_algorithm", QUICK_ALGORITHM, &algorithm))
        return false;
    bool quick = bytes_equal_text(algorithm, QUICK_ALGORITHM);
    if (hash.len == 0)
        return true;
    if (!quick && !bytes_equal_text(algorithm, SLOW_ALGORITHM)) {
        answer_error(c, 400, "bad_request",
                     "hashing_algorithm %.*s is not known; passwords may come as " QUICK_ALGORITHM
                     " or as \"password\"",
                     (int)(algorithm.len < 80 ? algorithm.len : 80), (const char *)algorithm.data);
        return false;
    }
    if ((quick && buf_append_text(out, QUICK)) || buf_append(out, hash.data, hash.len) ||
        buf_terminate(out)) {
        answer_error(c, 400, "bad_request", "password_hash is too long");
        return false;
    }
    return true;
}

/* The last administrator stays (access_settings.keep_admin), where RabbitMQ lets nobody remain. */
static void answer_refused(struct call *c, beck_status status)
{
    if (status == BECK_EBUSY)
        answer_error(c, 409, "conflict", "%s", c->err.text);
    else
        answer_status(c, status);
}

/* RabbitMQ has a user guest from the beginning, who goes on when others come. */
static beck_status make_guest(struct call *c)
{
    struct access_change guest = {.name = GUEST,
                                  .password = beck_str(GUEST),
                                  .tags = ADMINISTRATOR,
                                  .rules = &admin_rule,
                                  .rule_count = 1};
    return access_change_user(call_context(c)->access, &guest, &c->err);
}

static bool change_user(struct call *c, const struct access_change *change)
{
    beck_status status = BECK_OK;
    if (is_open(c) && strcmp(c->user, GUEST) == 0 && strcmp(change->name, GUEST) != 0)
        status = make_guest(c);
    if (!status)
        status = access_change_user(call_context(c)->access, change, &c->err);
    if (status)
        answer_refused(c, status);
    return !status;
}

static bool put_with(struct call *c, beck_bytes name, const json_t *from, const char *tags,
                     bool admin)
{
    struct before b = {.name = name};
    struct buf hash = {0};
    const json_t *password = json_object_get(from, "password");
    struct access_change change = {.name = name.data, .tags = tags, .rules = b.rules};
    if (json_is_string(password) && json_string_length(password) > 0)
        change.password = json_slice(password);
    else if (!read_hash(c, from, &hash)) {
        buf_release(&hash);
        return false;
    }
    change.password_hash = hash.len ? (const char *)hash.data : NULL;
    change.no_password = !change.password.data && !change.password_hash;
    access_list_users(call_context(c)->access, note_user, &b, NULL);
    set_admin(&b, admin);
    change.rule_count = b.count;
    bool ok = change_user(c, &change);
    before_release(&b);
    buf_release(&hash);
    return ok;
}

bool user_put(struct call *c, beck_bytes name, const json_t *from)
{
    struct buf tags = {0};
    bool admin = false;
    bool ok = read_tags(c, from, &tags, &admin) &&
              put_with(c, name, from, (const char *)tags.data, admin);
    buf_release(&tags);
    return ok;
}

static bool there_is(struct call *c, beck_bytes name)
{
    struct before b = {.name = name};
    access_list_users(call_context(c)->access, note_user, &b, NULL);
    before_release(&b);
    return b.found;
}

static void put_user(struct call *c)
{
    beck_bytes name = call_name(c, 0);
    bool made = !there_is(c, name);
    if (user_put(c, name, c->body))
        answer_put(c, BECK_OK, made);
}

/* ---- deleting ---- */

static beck_status delete_one(struct call *c, const char *name)
{
    if (is_open(c) && strcmp(name, GUEST) == 0)
        return error_set(&c->err, BECK_EINVAL,
                         "guest is who needs no name (access.anonymous_loopback); make another "
                         "administrator first");
    char reason[300];
    snprintf(reason, sizeof reason, "user '%s' is deleted", name);
    beck_status status = access_delete_user(call_context(c)->access, name, &c->err);
    if (!status && call_context(c)->amqp)
        amqp_close_connections(call_context(c)->amqp, name, NULL, reason);
    return status ? status : broker_forget_user(c->b, beck_str(name), &c->err);
}

static void answer_deleted(struct call *c, beck_status status)
{
    if (status)
        answer_refused(c, status);
    else
        answer_nothing(c, 204);
}

static void delete_user(struct call *c)
{
    answer_deleted(c, delete_one(c, http_path(c->r, 0)));
}

static void delete_users(struct call *c)
{
    const json_t *names = json_object_get(c->body, "users");
    if (!json_is_array(names)) {
        answer_error(c, 400, "bad_request", "key_missing: users");
        return;
    }
    beck_status status = BECK_OK;
    for (size_t i = 0; i < json_array_size(names) && !status; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        status = name ? delete_one(c, name) : BECK_OK;
        status = status == BECK_ENOENT ? BECK_OK : status;
    }
    answer_deleted(c, status);
}

const struct management_route management_routes_users[] = {
    {"GET", "/api/users", LEVEL_ADMIN, false, list_users, "management.users"},
    {"GET", "/api/users/without-permissions", LEVEL_ADMIN, false, list_users_without_permissions,
     "management.usersWithoutPermissions"},
    {"POST", "/api/users/bulk-delete", LEVEL_ADMIN, true, delete_users,
     "management.bulkDeleteUsers"},
    {"GET", "/api/users/{user}", LEVEL_ADMIN, false, show_user, "management.user"},
    {"PUT", "/api/users/{user}", LEVEL_ADMIN, true, put_user, "management.putUser"},
    {"DELETE", "/api/users/{user}", LEVEL_ADMIN, false, delete_user, "management.deleteUser"},
    {0}};
