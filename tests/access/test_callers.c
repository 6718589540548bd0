/* Who may do what: names, passwords, tokens, rights, and how many failures an address has. */
#include "access/common.h"

/* ---- without a name ---- */

static beck_status enter(struct home *h, const struct access_peer *peer)
{
    struct identity *i;
    beck_status status = access_anonymous(h->a, peer, &i, NULL);
    if (!status) {
        assert_string_equal(identity_name(i), "");
        assert_true(identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL));
        assert_true(identity_may(i, ACCESS_READ, ACCESS_BUS, "__users"));
        identity_release(i);
    }
    return status;
}

static void this_machine_needs_no_name_until_there_is_a_user(void **state)
{
    (void)state;
    struct home h;
    struct identity *before;
    home_make(&h);
    assert_int_equal(enter(&h, &here), BECK_OK);
    assert_int_equal(enter(&h, &there), BECK_EDENIED);
    must(access_anonymous(h.a, &here, &before, &err));
    assert_false(identity_is_stale(before));
    put(&h, "ada", "pw");
    assert_true(identity_is_stale(before));
    assert_int_equal(enter(&h, &here), BECK_EDENIED);
    must(access_delete_user(h.a, "ada", &err));
    assert_int_equal(enter(&h, &here), BECK_OK);
    identity_release(before);
    home_remove(&h);
}

static void settings_say_who_needs_no_name(void **state)
{
    (void)state;
    struct home h;
    home_make(&h);
    h.settings.anonymous_loopback = false;
    home_reopen(&h);
    assert_int_equal(enter(&h, &here), BECK_EDENIED);
    h.settings.anonymous_remote = true;
    home_reopen(&h);
    assert_int_equal(enter(&h, &there), BECK_OK);
    home_remove(&h);
}

static void the_socket_of_the_data_directory_is_trusted(void **state)
{
    (void)state;
    static const struct access_peer owner = {.address = "unix", .loopback = true, .trusted = true};
    struct home h;
    struct identity *i;
    home_make(&h);
    put(&h, "ada", "pw");
    must(access_anonymous(h.a, &owner, &i, &err));
    assert_true(identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL));
    assert_false(identity_is_stale(i));
    identity_release(i);
    home_remove(&h);
}

/* ---- passwords ---- */

static void the_right_password_is_let_in_and_no_other(void **state)
{
    (void)state;
    struct home h;
    char longest[ACCESS_PASSWORD_MAX + 2];
    home_make(&h);
    memset(longest, 'x', sizeof longest);
    longest[ACCESS_PASSWORD_MAX] = 0;
    put(&h, "ada", "correct horse");
    put(&h, "bob", longest);
    must(access_put_user(h.a, "cy", (beck_bytes){0}, NULL, 0, &err));
    h.settings.failures_max = 100;
    home_reopen(&h);
    assert_int_equal(login(&h, &there, "ada", "correct horse"), BECK_OK);
    assert_int_equal(login(&h, &there, "bob", longest), BECK_OK);
    static const char *const wrong[][2] = {{"ada", ""},
                                           {"ada", "correct"},
                                           {"ada", "Correct horse"},
                                           {"Ada", "correct horse"},
                                           {"", ""},
                                           {"cy", ""},
                                           {"cy", "x"},
                                           {"nobody", "correct horse"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(login(&h, &there, wrong[i][0], wrong[i][1]), BECK_EDENIED);
    longest[ACCESS_PASSWORD_MAX] = 'x';
    longest[ACCESS_PASSWORD_MAX + 1] = 0;
    assert_int_equal(login(&h, &there, "bob", longest), BECK_EDENIED);
    home_remove(&h);
}

static void a_refusal_does_not_say_what_was_wrong(void **state)
{
    (void)state;
    struct home h;
    struct identity *i;
    beck_error user = {0}, password = {0}, token = {0};
    home_make(&h);
    put(&h, "ada", "pw");
    beck_bytes pw = beck_str("pw"), no = beck_str("no");
    assert_int_equal(access_password(h.a, &there, beck_str("eve"), pw, &i, NULL, &user),
                     BECK_EDENIED);
    assert_int_equal(access_password(h.a, &there, beck_str("ada"), no, &i, NULL, &password),
                     BECK_EDENIED);
    assert_int_equal(access_token(h.a, &there, no, &i, NULL, &token), BECK_EDENIED);
    assert_string_equal(user.text, password.text);
    assert_string_equal(user.text, token.text);
    home_remove(&h);
}

/* Least of several, of the thread: what else the machine does takes no part in it. */
static int64_t cpu_of_login(struct home *h, const char *name, const char *password)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        assert_int_equal(login(h, &there, name, password), BECK_EDENIED);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        int64_t took = (to.tv_sec - from.tv_sec) * INT64_C(1000000000) + to.tv_nsec - from.tv_nsec;
        least = took < least ? took : least;
    }
    return least;
}

static void a_user_that_there_is_not_takes_as_long_as_a_wrong_password(void **state)
{
    (void)state;
    struct home h;
    home_make(&h);
    h.settings.scrypt_log_n = 14;
    h.settings.failures_max = 1000;
    home_reopen(&h);
    put(&h, "ada", "pw");
    must(access_put_user(h.a, "cy", (beck_bytes){0}, NULL, 0, &err));
    int64_t wrong = cpu_of_login(&h, "ada", "no");
    /* Without hashing, these would take a thousandth of it. */
    assert_true(cpu_of_login(&h, "nobody", "no") > wrong / 4);
    assert_true(cpu_of_login(&h, "cy", "no") > wrong / 4);
    home_remove(&h);
}

static void a_password_that_was_right_is_found_without_hashing(void **state)
{
    (void)state;
    struct home h;
    struct identity *i;
    home_make(&h);
    put(&h, "ada", "pw");
    beck_bytes ada = beck_str("ada"), pw = beck_str("pw");
    assert_false(access_password_known(h.a, ada, pw, &i));
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_OK);
    assert_true(access_password_known(h.a, ada, pw, &i));
    assert_string_equal(identity_name(i), "ada");
    identity_release(i);
    assert_false(access_password_known(h.a, ada, beck_str("no"), &i));
    clock_virtual_advance(h.clock, INT64_C(60000000000));
    assert_false(access_password_known(h.a, ada, pw, &i));
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_OK);
    put(&h, "ada", "other");
    assert_false(access_password_known(h.a, ada, pw, &i));
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_EDENIED);
    assert_int_equal(login(&h, &there, "ada", "other"), BECK_OK);
    must(access_delete_user(h.a, "ada", &err));
    assert_false(access_password_known(h.a, ada, beck_str("other"), &i));
    home_remove(&h);
}

/* ---- failures ---- */

static void an_address_that_fails_often_waits(void **state)
{
    (void)state;
    struct home h;
    struct identity *i;
    int64_t retry_ms = 0;
    home_make(&h);
    h.settings.failures_max = 3;
    h.settings.failures_window_ms = 5000;
    home_reopen(&h);
    put(&h, "ada", "pw");
    beck_bytes ada = beck_str("ada"), pw = beck_str("pw");
    for (int n = 0; n < 3; n++)
        assert_int_equal(login(&h, &there, "ada", "no"), BECK_EDENIED);
    clock_virtual_advance(h.clock, 2000000000);
    refused(access_password(h.a, &there, ada, pw, &i, &retry_ms, &err), BECK_ELIMIT,
            "access.failures_max");
    assert_int_equal(retry_ms, 3000);
    assert_int_equal(login(&h, &elsewhere, "ada", "pw"), BECK_OK);
    /* Known now: it costs nothing to say so, whoever asks. */
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_OK);
    put(&h, "bob", "pw");
    assert_int_equal(login(&h, &there, "bob", "pw"), BECK_ELIMIT);
    clock_virtual_advance(h.clock, 3000000000);
    assert_int_equal(login(&h, &there, "bob", "pw"), BECK_OK);
    home_remove(&h);
}

static void wrong_tokens_count_and_right_ones_are_always_taken(void **state)
{
    (void)state;
    struct home h;
    struct identity *i;
    char token[ACCESS_TOKEN_SIZE], wrong[ACCESS_TOKEN_SIZE];
    int64_t retry_ms = 0;
    home_make(&h);
    h.settings.failures_max = 2;
    home_reopen(&h);
    put(&h, "ada", "pw");
    must(access_make_token(h.a, "ada", "ci", token, &err));
    memcpy(wrong, token, sizeof wrong);
    wrong[20] = wrong[20] == 'a' ? 'b' : 'a';
    for (int n = 0; n < 2; n++)
        refused(access_token(h.a, &there, beck_str(wrong), &i, &retry_ms, &err), BECK_EDENIED, "");
    refused(access_token(h.a, &there, beck_str(wrong), &i, &retry_ms, &err), BECK_ELIMIT, "");
    assert_int_equal(retry_ms, 60000);
    assert_int_equal(login(&h, &there, "ada", "pw"), BECK_ELIMIT);
    must(access_token(h.a, &there, beck_str(token), &i, NULL, &err));
    assert_string_equal(identity_name(i), "ada");
    identity_release(i);
    home_remove(&h);
}

/* ---- tokens ---- */

static void a_token_is_its_user_until_it_is_revoked(void **state)
{
    (void)state;
    struct home h;
    struct identity *i;
    char first[ACCESS_TOKEN_SIZE], second[ACCESS_TOKEN_SIZE];
    home_make(&h);
    must(access_put_user(h.a, "ci", (beck_bytes){0}, NULL, 0, &err));
    must(access_make_token(h.a, "ci", "one", first, &err));
    must(access_make_token(h.a, "ci", "two", second, &err));
    refused(access_make_token(h.a, "ci", "one", first, &err), BECK_EEXIST, "revoke it first");
    refused(access_make_token(h.a, "eve", "one", first, &err), BECK_ENOENT, "eve");
    refused(access_make_token(h.a, "ci", "o n e", first, &err), BECK_EINVAL, "o n e");
    home_reopen(&h);
    must(access_token(h.a, &there, beck_str(first), &i, NULL, &err));
    assert_string_equal(identity_name(i), "ci");
    must(access_revoke_token(h.a, "ci", "one", &err));
    assert_true(identity_is_stale(i));
    identity_release(i);
    refused(access_revoke_token(h.a, "ci", "one", &err), BECK_ENOENT, "one");
    refused(access_token(h.a, &there, beck_str(first), &i, NULL, &err), BECK_EDENIED, "");
    must(access_token(h.a, &there, beck_str(second), &i, NULL, &err));
    identity_release(i);
    must(access_delete_user(h.a, "ci", &err));
    refused(access_token(h.a, &there, beck_str(second), &i, NULL, &err), BECK_EDENIED, "");
    home_remove(&h);
}

/* ---- rights ---- */

static const struct {
    enum access_right right;
    enum access_kind kind;
    const char *name;
    bool may;
} rights_of_ada[] = {
    {ACCESS_PUBLISH, ACCESS_BUS, "orders.eu", true},
    {ACCESS_READ, ACCESS_BUS, "orders.eu", true},
    {ACCESS_PUBLISH | ACCESS_READ, ACCESS_BUS, "orders.eu", true},
    {ACCESS_ADMIN, ACCESS_BUS, "orders.eu", false},
    {ACCESS_PUBLISH | ACCESS_ADMIN, ACCESS_BUS, "orders.eu", false},
    {ACCESS_PUBLISH, ACCESS_BUS, "invoices", false},
    {ACCESS_PUBLISH, ACCESS_QUEUE, "orders.eu", false},
    {ACCESS_WORK, ACCESS_QUEUE, "anything", true},
    {ACCESS_READ, ACCESS_QUEUE, "anything", false},
    {ACCESS_READ, ACCESS_BUS, "__users", false},
    {ACCESS_READ, ACCESS_SERVER, NULL, false},
    {ACCESS_ADMIN, ACCESS_SERVER, NULL, false},
    {ACCESS_DESCRIBE, ACCESS_BUS, "invoices", true},
    {ACCESS_DESCRIBE, ACCESS_QUEUE, "anything", true},
};

static void who_may_only_make_buses_sees_none(void **state)
{
    (void)state;
    static const struct access_rule rules[] = {{ACCESS_SERVER, NULL, ACCESS_CREATE},
                                               {ACCESS_BUS, "mine.*", ACCESS_CREATE},
                                               {ACCESS_BUS, "seen", ACCESS_DESCRIBE},
                                               {ACCESS_BUS, "sent", ACCESS_PUBLISH},
                                               {ACCESS_BUS, "owned", ACCESS_ADMIN}};
    struct home h;
    struct identity *i;
    home_make(&h);
    must(access_put_user(h.a, "ada", beck_str("pw"), rules, 5, &err));
    must(access_password(h.a, &there, beck_str("ada"), beck_str("pw"), &i, NULL, &err));
    assert_true(identity_may(i, ACCESS_CREATE, ACCESS_BUS, "mine.new"));
    assert_true(identity_may(i, ACCESS_CREATE, ACCESS_BUS, "any"));
    assert_false(identity_may(i, ACCESS_DESCRIBE, ACCESS_BUS, "any"));
    assert_false(identity_may(i, ACCESS_DESCRIBE, ACCESS_BUS, "mine.new"));
    assert_false(identity_may(i, ACCESS_DESCRIBE, ACCESS_QUEUE, "any"));
    assert_true(identity_may(i, ACCESS_DESCRIBE, ACCESS_BUS, "seen"));
    assert_true(identity_may(i, ACCESS_DESCRIBE, ACCESS_BUS, "sent"));
    assert_true(identity_may(i, ACCESS_DESCRIBE, ACCESS_BUS, "owned"));
    identity_release(i);
    home_remove(&h);
}

static void rights_are_those_of_all_rules_together(void **state)
{
    (void)state;
    static const struct access_rule rules[] = {{ACCESS_BUS, "orders.*", ACCESS_PUBLISH},
                                               {ACCESS_BUS, "*", ACCESS_READ},
                                               {ACCESS_QUEUE, "*", ACCESS_WORK}};
    struct home h;
    struct identity *i;
    home_make(&h);
    must(access_put_user(h.a, "ada", beck_str("pw"), rules, 3, &err));
    for (int round = 0; round < 2; round++) {
        must(access_password(h.a, &there, beck_str("ada"), beck_str("pw"), &i, NULL, &err));
        for (size_t n = 0; n < sizeof rights_of_ada / sizeof *rights_of_ada; n++)
            if (identity_may(i, rights_of_ada[n].right, rights_of_ada[n].kind,
                             rights_of_ada[n].name) != rights_of_ada[n].may)
                fail_msg("%zu in round %d", n, round);
        identity_release(i);
        home_reopen(&h);
    }
    home_remove(&h);
}

static void rules_on_the_server_are_for_everything(void **state)
{
    (void)state;
    static const struct access_rule reads[] = {{ACCESS_SERVER, NULL, ACCESS_READ}};
    static const struct access_rule all[] = {{ACCESS_SERVER, NULL, ACCESS_ADMIN}};
    struct home h;
    struct identity *i;
    home_make(&h);
    must(access_put_user(h.a, "ada", beck_str("pw"), reads, 1, &err));
    must(access_password(h.a, &there, beck_str("ada"), beck_str("pw"), &i, NULL, &err));
    assert_true(identity_may(i, ACCESS_READ, ACCESS_BUS, "b"));
    assert_true(identity_may(i, ACCESS_READ, ACCESS_QUEUE, "q"));
    assert_true(identity_may(i, ACCESS_READ, ACCESS_SERVER, NULL));
    assert_false(identity_may(i, ACCESS_READ, ACCESS_BUS, "__users"));
    assert_false(identity_may(i, ACCESS_PUBLISH, ACCESS_BUS, "b"));
    must(access_put_user(h.a, "ada", (beck_bytes){0}, all, 1, &err));
    assert_true(identity_is_stale(i));
    assert_false(identity_may(i, ACCESS_PUBLISH, ACCESS_BUS, "b"));
    identity_release(i);
    must(access_password(h.a, &there, beck_str("ada"), beck_str("pw"), &i, NULL, &err));
    assert_true(identity_may(i, ACCESS_WORK, ACCESS_QUEUE, "q"));
    assert_true(identity_may(i, ACCESS_READ, ACCESS_BUS, "__users"));
    assert_true(identity_may(i, ACCESS_ADMIN, ACCESS_SERVER, NULL));
    identity_release(i);
    home_remove(&h);
}

/* ---- many at once ---- */

#define CALLERS 4
#define ROUNDS 60

struct crowd {
    struct home *h;
    char token[ACCESS_TOKEN_SIZE];
    _Atomic(int) inside;
    _Atomic(bool) over;
};

static void *call(void *arg)
{
    struct crowd *c = arg;
    struct access_peer peer = {.address = "198.51.100.1"};
    while (!atomic_load(&c->over)) {
        struct identity *i;
        if (access_token(c->h->a, &peer, beck_str(c->token), &i, NULL, NULL) == BECK_OK) {
            identity_may(i, ACCESS_READ, ACCESS_BUS, "orders");
            identity_release(i);
            atomic_fetch_add(&c->inside, 1);
        }
        if (!access_password(c->h->a, &peer, beck_str("ada"), beck_str("pw"), &i, NULL, NULL)) {
            identity_is_stale(i);
            identity_release(i);
        }
    }
    return NULL;
}

static int count_user(void *ctx, const struct access_user *user)
{
    (void)user;
    ++*(int *)ctx;
    return 0;
}

static void users_change_while_others_log_in(void **state)
{
    (void)state;
    static const struct access_rule rules[] = {{ACCESS_BUS, "*", ACCESS_READ}};
    struct home h;
    struct crowd c = {.h = &h};
    pthread_t threads[CALLERS];
    home_make(&h);
    put(&h, "ada", "pw");
    must(access_make_token(h.a, "ada", "ci", c.token, &err));
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call, &c), 0);
    for (int i = 0; i < ROUNDS || atomic_load(&c.inside) == 0; i++) {
        char name[16];
        int users = 0;
        snprintf(name, sizeof name, "u%d", i % 40);
        must(access_put_user(h.a, "ada", (beck_bytes){0}, rules, i % 2, &err));
        must(access_put_user(h.a, name, (beck_bytes){0}, NULL, 0, &err));
        must(access_list_users(h.a, count_user, &users, &err));
        assert_in_range(users, 2, 41);
        if (i % 3 == 0)
            must(access_delete_user(h.a, name, &err));
    }
    atomic_store(&c.over, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    home_remove(&h);
}

static void *log_in_once(void *arg)
{
    return (void *)(intptr_t)login(arg, &elsewhere, "ada", "pw");
}

/* More failures at the same time than there may be are not all looked at. */
static void *fail_once(void *arg)
{
    return (void *)(intptr_t)login(arg, &there, "ada", "no");
}

static void failures_at_the_same_time_count_as_others_do(void **state)
{
    (void)state;
    enum { THREADS = 16, MAX = 3, AT_ONCE = 2 };
    struct home h;
    pthread_t threads[THREADS];
    int looked_at = 0;
    home_make(&h);
    h.settings.failures_max = MAX;
    home_reopen(&h);
    put(&h, "ada", "pw");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_once, &h), 0);
    for (int i = 0; i < THREADS; i++) {
        void *status;
        pthread_join(threads[i], &status);
        looked_at += (beck_status)(intptr_t)status == BECK_EDENIED;
    }
    assert_in_range(looked_at, MAX, MAX + AT_ONCE - 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_in_once, &h), 0);
    for (int i = 0; i < THREADS; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((beck_status)(intptr_t)status, BECK_OK);
    }
    home_remove(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_machine_needs_no_name_until_there_is_a_user),
        cmocka_unit_test(settings_say_who_needs_no_name),
        cmocka_unit_test(the_socket_of_the_data_directory_is_trusted),
        cmocka_unit_test(the_right_password_is_let_in_and_no_other),
        cmocka_unit_test(a_refusal_does_not_say_what_was_wrong),
        cmocka_unit_test(a_user_that_there_is_not_takes_as_long_as_a_wrong_password),
        cmocka_unit_test(a_password_that_was_right_is_found_without_hashing),
        cmocka_unit_test(an_address_that_fails_often_waits),
        cmocka_unit_test(wrong_tokens_count_and_right_ones_are_always_taken),
        cmocka_unit_test(a_token_is_its_user_until_it_is_revoked),
        cmocka_unit_test(who_may_only_make_buses_sees_none),
        cmocka_unit_test(rights_are_those_of_all_rules_together),
        cmocka_unit_test(rules_on_the_server_are_for_everything),
        cmocka_unit_test(users_change_while_others_log_in),
        cmocka_unit_test(failures_at_the_same_time_count_as_others_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
