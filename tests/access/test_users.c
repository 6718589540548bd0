/* Users as they last: random changes against a model, restarts, failing disks, limits. */
#include "access/common.h"

#include "base/rng.h"
#include "support/effort.h"

#define NAMES 12
#define TOKENS 4

struct model_token {
    bool there;
    char text[ACCESS_TOKEN_SIZE];
};

struct model_user {
    bool there;
    int password; /* -1: none */
    size_t rule_count;
    struct model_token tokens[TOKENS];
};

struct model {
    struct home h;
    struct rng rng;
    struct model_user users[NAMES];
};

static const struct access_rule all_rules[] = {{ACCESS_BUS, "orders.*", ACCESS_PUBLISH},
                                               {ACCESS_QUEUE, "q", ACCESS_WORK | ACCESS_READ},
                                               {ACCESS_SERVER, NULL, ACCESS_READ}};

static void name_of(size_t i, char out[16])
{
    snprintf(out, 16, "user%zu", i);
}

static void password_of(int i, char out[16])
{
    snprintf(out, 16, "secret%d", i);
}

/* ---- what there is, compared ---- */

struct listing {
    const struct model *m;
    size_t next;
};

static int check_listed(void *ctx, const struct access_user *user)
{
    struct listing *l = ctx;
    /* In order of name: user0, user1, user10, user11, user2 ... */
    static const size_t order[NAMES] = {0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9};
    while (!l->m->users[order[l->next]].there)
        l->next++;
    char name[16];
    size_t tokens = 0;
    const struct model_user *expected = &l->m->users[order[l->next]];
    name_of(order[l->next++], name);
    for (int i = 0; i < TOKENS; i++)
        tokens += expected->tokens[i].there;
    assert_string_equal(user->name, name);
    assert_int_equal(user->has_password, expected->password >= 0);
    assert_int_equal(user->token_count, tokens);
    assert_int_equal(user->rule_count, expected->rule_count);
    for (size_t i = 0; i < user->rule_count; i++) {
        assert_int_equal(user->rules[i].kind, all_rules[i].kind);
        assert_int_equal(user->rules[i].rights, all_rules[i].rights);
        if (all_rules[i].kind != ACCESS_SERVER)
            assert_string_equal(user->rules[i].pattern, all_rules[i].pattern);
    }
    return 0;
}

static void check_tokens(struct model *m, size_t at)
{
    for (int i = 0; i < TOKENS; i++) {
        const struct model_token *t = &m->users[at].tokens[i];
        struct identity *found;
        if (!t->text[0])
            continue;
        beck_status status = access_token(m->h.a, &there, beck_str(t->text), &found, NULL, NULL);
        assert_int_equal(status, t->there ? BECK_OK : BECK_EDENIED);
        if (!status)
            identity_release(found);
    }
}

static void check_all(struct model *m)
{
    struct listing l = {m, 0};
    size_t count = 0;
    must(access_list_users(m->h.a, check_listed, &l, &err));
    for (size_t i = 0; i < NAMES; i++) {
        count += m->users[i].there;
        check_tokens(m, i);
    }
    assert_int_equal(access_user_count(m->h.a), count);
}

static void check_password(struct model *m, size_t at)
{
    char name[16], password[16];
    int tried = (int)rng_below(&m->rng, 3);
    const struct model_user *u = &m->users[at];
    name_of(at, name);
    password_of(tried, password);
    assert_int_equal(login(&m->h, &there, name, password),
                     u->there && u->password == tried ? BECK_OK : BECK_EDENIED);
}

/* ---- changes ---- */

static void change_user(struct model *m, size_t at)
{
    char name[16], password[16];
    struct model_user *u = &m->users[at];
    bool with_password = rng_below(&m->rng, 3) == 0, with_rules = rng_below(&m->rng, 2) == 0;
    int number = (int)rng_below(&m->rng, 3);
    size_t rules = rng_below(&m->rng, 4);
    name_of(at, name);
    password_of(number, password);
    must(access_put_user(m->h.a, name, with_password ? beck_str(password) : (beck_bytes){0},
                         with_rules ? all_rules : NULL, rules, &err));
    if (!u->there)
        *u = (struct model_user){.there = true, .password = -1};
    if (with_password)
        u->password = number;
    if (with_rules)
        u->rule_count = rules;
}

static void delete_user(struct model *m, size_t at)
{
    char name[16];
    struct model_user *u = &m->users[at];
    name_of(at, name);
    assert_int_equal(access_delete_user(m->h.a, name, NULL), u->there ? BECK_OK : BECK_ENOENT);
    u->there = false;
    for (int i = 0; i < TOKENS; i++)
        u->tokens[i].there = false;
}

static void change_token(struct model *m, size_t at)
{
    char name[16], token_name[16];
    struct model_user *u = &m->users[at];
    size_t which = rng_below(&m->rng, TOKENS);
    struct model_token *t = &u->tokens[which];
    name_of(at, name);
    snprintf(token_name, sizeof token_name, "t%zu", which);
    if (rng_below(&m->rng, 2) == 0) {
        beck_status expected = !u->there ? BECK_ENOENT : t->there ? BECK_EEXIST : BECK_OK;
        assert_int_equal(access_make_token(m->h.a, name, token_name, t->text, NULL), expected);
        t->there = u->there;
    } else {
        beck_status expected = u->there && t->there ? BECK_OK : BECK_ENOENT;
        assert_int_equal(access_revoke_token(m->h.a, name, token_name, NULL), expected);
        t->there = false;
    }
}

/* A change that the disk refuses is none, also after a restart. */
static void fail_change(struct model *m, size_t at)
{
    char name[16];
    name_of(at, name);
    vfs_sim_fail(m->h.vfs, VFS_OP_WRITE, 1, false, BECK_EFULL);
    beck_status status =
        access_put_user(m->h.a, name, (beck_bytes){0}, all_rules, rng_below(&m->rng, 4), NULL);
    assert_int_equal(status, BECK_EFULL);
    vfs_sim_fail(m->h.vfs, 0, 0, false, 0);
}

static void restart(struct model *m)
{
    if (rng_below(&m->rng, 2) == 0) {
        home_reopen(&m->h);
        return;
    }
    access_close(m->h.a);
    vfs_sim_crash(m->h.vfs);
    beck_abandon(m->h.b);
    home_open(&m->h);
}

static void step(struct model *m)
{
    size_t at = rng_below(&m->rng, NAMES);
    switch (rng_below(&m->rng, 10)) {
    case 0:
    case 1:
    case 2:
        change_user(m, at);
        break;
    case 3:
        delete_user(m, at);
        break;
    case 4:
    case 5:
    case 6:
        change_token(m, at);
        break;
    case 7:
        check_password(m, at);
        break;
    case 8:
        fail_change(m, at);
        break;
    default:
        if (rng_below(&m->rng, 5) == 0)
            restart(m);
    }
}

static void changes_last_as_a_model_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= effort(6, 2); seed++) {
        struct model m = {0};
        home_make(&m.h);
        m.h.settings.failures_max = UINT32_MAX;
        home_reopen(&m.h);
        rng_seed(&m.rng, seed);
        /* The log is there, so that a full disk fails the change alone. */
        change_user(&m, 0);
        for (int i = 0; i < 300; i++) {
            step(&m);
            check_all(&m);
        }
        home_remove(&m.h);
    }
}

/* ---- limits ---- */

static void what_is_no_user_is_refused(void **state)
{
    (void)state;
    struct home h;
    char longest[ACCESS_NAME_MAX + 2];
    static const char *const names[] = {"", "a b", "a:b", "a/b", "\xc3\xa4", "a\n"};
    home_make(&h);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refused(access_put_user(h.a, names[i], beck_str("pw"), NULL, 0, &err), BECK_EINVAL,
                "no name of a user");
    refused(access_put_user(h.a, NULL, beck_str("pw"), NULL, 0, &err), BECK_EINVAL, "no name");
    memset(longest, 'a', sizeof longest);
    longest[ACCESS_NAME_MAX + 1] = 0;
    refused(access_put_user(h.a, longest, beck_str("pw"), NULL, 0, &err), BECK_EINVAL, "no name");
    longest[ACCESS_NAME_MAX] = 0;
    put(&h, longest, "pw");
    put(&h, "ada@example.com", "pw");
    refused(access_put_user(h.a, "ada", beck_str(""), NULL, 0, &err), BECK_EINVAL, "password");
    refused(access_put_user(h.a, "ada", bytes_of(longest, ACCESS_PASSWORD_MAX + 1), NULL, 0, &err),
            BECK_EINVAL, "1 to 1024");
    assert_int_equal(access_user_count(h.a), 2);
    home_remove(&h);
}

static void what_is_no_rule_is_refused(void **state)
{
    (void)state;
    struct home h;
    static const struct {
        struct access_rule rule;
        const char *words;
    } cases[] = {
        {{ACCESS_BUS, "", ACCESS_READ}, "no pattern of bus names"},
        {{ACCESS_BUS, NULL, ACCESS_READ}, "no pattern of bus names"},
        {{ACCESS_QUEUE, "a b", ACCESS_READ}, "no pattern of queue names"},
        {{ACCESS_BUS, "a", 0}, "publish, read, admin"},
        {{ACCESS_BUS, "a", ACCESS_WORK}, "publish, read, admin"},
        {{ACCESS_QUEUE, "a", ACCESS_PUBLISH}, "read, work, admin"},
        {{ACCESS_QUEUE, "a", ACCESS_CREATE}, "read, work, admin"},
        {{ACCESS_SERVER, NULL, 64}, "the server"},
        {{(enum access_kind)7, "a", ACCESS_READ}, "a bus, a queue or the server"},
    };
    home_make(&h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(access_put_user(h.a, "ada", beck_str("pw"), &cases[i].rule, 1, &err), BECK_EINVAL,
                cases[i].words);
    struct access_rule many[ACCESS_RULES_MAX + 1];
    for (int i = 0; i <= ACCESS_RULES_MAX; i++)
        many[i] = (struct access_rule){ACCESS_BUS, "a", ACCESS_READ};
    refused(access_put_user(h.a, "ada", beck_str("pw"), many, ACCESS_RULES_MAX + 1, &err),
            BECK_ELIMIT, "at most 100 rules");
    must(access_put_user(h.a, "ada", beck_str("pw"), many, ACCESS_RULES_MAX, &err));
    home_remove(&h);
}

static void a_user_has_so_many_tokens_and_no_more(void **state)
{
    (void)state;
    struct home h;
    char token[ACCESS_TOKEN_SIZE];
    home_make(&h);
    put(&h, "ci", "pw");
    for (int i = 0; i <= ACCESS_TOKENS_MAX; i++) {
        char name[ACCESS_NAME_MAX + 1];
        memset(name, 'n', sizeof name);
        snprintf(name + ACCESS_NAME_MAX - 3, 4, "%03d", i);
        if (i < ACCESS_TOKENS_MAX)
            must(access_make_token(h.a, "ci", name, token, &err));
        else
            refused(access_make_token(h.a, "ci", name, token, &err), BECK_ELIMIT, "100 tokens");
    }
    home_reopen(&h);
    struct identity *i;
    must(access_token(h.a, &there, beck_str(token), &i, NULL, &err));
    identity_release(i);
    home_remove(&h);
}

/* ---- where they are kept ---- */

static void the_log_of_users_is_made_with_the_first_one(void **state)
{
    (void)state;
    struct home h;
    beck_bus *bus;
    home_make(&h);
    assert_int_equal(beck_bus_get(h.b, "__users", &bus, NULL), BECK_ENOENT);
    put(&h, "ada", "pw");
    must(beck_bus_get(h.b, "__users", &bus, &err));
    beck_event e = {.type = beck_str("user"), .subject = beck_str("eve"), .data = beck_str("{}")};
    refused(beck_publish(bus, &e, &err), BECK_EINVAL, "belongs to beck itself");
    refused(beck_bus_delete(h.b, "__users", &err), BECK_EINVAL, "__users");
    home_remove(&h);
}

static void no_secret_is_in_the_log(void **state)
{
    (void)state;
    struct home h;
    beck_bus *bus;
    beck_reader *reader;
    char token[ACCESS_TOKEN_SIZE];
    beck_read_options o = {.from.kind = BECK_FROM_EARLIEST};
    home_make(&h);
    put(&h, "ada", "correct-horse-battery");
    must(access_make_token(h.a, "ada", "ci", token, &err));
    must(beck_bus_get(h.b, "__users", &bus, &err));
    must(beck_reader_open(bus, &o, &reader, &err));
    const beck_event *e;
    int records = 0;
    while (beck_reader_next(reader, 0, &e, NULL) == BECK_OK) {
        records++;
        assert_null(memmem(e->data.data, e->data.len, "correct-horse", 13));
        assert_null(memmem(e->data.data, e->data.len, token, 20));
    }
    assert_int_equal(records, 2);
    beck_reader_close(reader);
    home_remove(&h);
}

static void a_record_that_is_none_refuses_to_open(void **state)
{
    (void)state;
    struct home h;
    struct access *a;
    home_make(&h);
    put(&h, "ada", "pw");
    beck_bus *bus;
    must(beck_bus_get(h.b, "__users", &bus, &err));
    beck_event e = {.type = beck_str("user"), .subject = beck_str("eve"), .data = beck_str("[]")};
    must(bus_publish(bus, &e, 1, NULL, NULL, &err));
    refused(access_open(h.b, &h.settings, &a, &err), BECK_ECORRUPT, "eve");
    home_remove(&h);
}

static void a_directory_that_is_only_read_shows_its_users(void **state)
{
    (void)state;
    struct home h;
    home_make(&h);
    put(&h, "ada", "pw");
    home_close(&h);
    beck_options o = {.data_dir = "/data", .read_only = true};
    must(beck_open_env(&h.b, &o, h.vfs, h.clock, &err));
    must(access_open(h.b, &h.settings, &h.a, &err));
    assert_int_equal(access_user_count(h.a), 1);
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_OK);
    refused(access_delete_user(h.a, "ada", &err), BECK_EINVAL, "reading only");
    assert_int_equal(access_user_count(h.a), 1);
    home_remove(&h);
}

static void users_of_a_handle_in_memory_last_as_long_as_it(void **state)
{
    (void)state;
    struct home h = {.settings.scrypt_log_n = CHEAP};
    must(beck_open(&h.b, NULL, &err));
    must(access_open(h.b, &h.settings, &h.a, &err));
    put(&h, "ada", "pw");
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_OK);
    home_close(&h);
}

static int see_tags(void *ctx, const struct access_user *user)
{
    const char **tags = ctx;
    assert_string_equal(user->tags, tags[0]);
    assert_string_equal(user->password_hash, tags[1]);
    return 1;
}

/* The hash is one that RabbitMQ's documents show. */
static void a_user_may_come_with_the_hash_that_rabbitmq_kept(void **state)
{
    (void)state;
    static const char *const hash = "sha256:kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    struct home h;
    struct access_peer peer = {.address = "127.0.0.1", .loopback = true};
    struct identity *found;
    home_make(&h);
    struct access_change c = {.name = "ada", .password_hash = hash, .tags = "management,x"};
    must(access_change_user(h.a, &c, &err));
    c = (struct access_change){.name = "ada"}; /* changes nothing */
    must(access_change_user(h.a, &c, &err));
    home_reopen(&h);
    const char *expected[] = {"management,x", hash};
    must(access_list_users(h.a, see_tags, expected, &err));
    refused(access_password(h.a, &peer, beck_str("ada"), beck_str("test1"), &found, NULL, &err),
            BECK_EDENIED, "not right");
    must(access_password(h.a, &peer, beck_str("ada"), beck_str("test12"), &found, NULL, &err));
    assert_string_equal(identity_tags(found), "management,x");
    identity_release(found);
    c = (struct access_change){.name = "ada", .no_password = true, .tags = ""};
    must(access_change_user(h.a, &c, &err));
    refused(access_password(h.a, &peer, beck_str("ada"), beck_str("test12"), &found, NULL, &err),
            BECK_EDENIED, "not right");
    c = (struct access_change){.name = "ada", .password_hash = "sha256:AAAA"};
    refused(access_change_user(h.a, &c, &err), BECK_EINVAL, "hash");
    c = (struct access_change){.name = "ada", .tags = "a b"};
    refused(access_change_user(h.a, &c, &err), BECK_EINVAL, "tags");
    home_remove(&h);
}

static void settings_out_of_range_are_refused(void **state)
{
    (void)state;
    struct access_settings s = {.scrypt_log_n = 30};
    struct access *a;
    beck *b;
    must(beck_open(&b, NULL, &err));
    refused(access_open(b, &s, &a, &err), BECK_EINVAL, "2^30");
    beck_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_last_as_a_model_says),
        cmocka_unit_test(what_is_no_user_is_refused),
        cmocka_unit_test(what_is_no_rule_is_refused),
        cmocka_unit_test(a_user_has_so_many_tokens_and_no_more),
        cmocka_unit_test(the_log_of_users_is_made_with_the_first_one),
        cmocka_unit_test(no_secret_is_in_the_log),
        cmocka_unit_test(a_record_that_is_none_refuses_to_open),
        cmocka_unit_test(a_directory_that_is_only_read_shows_its_users),
        cmocka_unit_test(users_of_a_handle_in_memory_last_as_long_as_it),
        cmocka_unit_test(settings_out_of_range_are_refused),
        cmocka_unit_test(a_user_may_come_with_the_hash_that_rabbitmq_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
