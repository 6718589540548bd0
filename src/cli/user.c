/* beck user: who may use a server on this data directory, and what they may do. */
#include "access/access.h"
#include "cli/commands.h"
#include "cli/password.h"
#include "cli/print.h"
#include "cli/user_rules.h"
#include "event/json.h"
#include <stdio.h>

/* ---- the users of the data directory ---- */

static int open_users(struct call *call, enum call_open_mode mode, struct access **out)
{
    static const struct access_settings settings;
    beck_error err;
    int code = call_open(call, mode);
    if (code) {
        return code;
    }
    beck_status status = access_open(call->handle, &settings, out, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int fail(const struct call *call, beck_status status, const beck_error *err)
{
    if (status == BECK_ENOENT && call->argument_count == 1) {
        return call_error(call, EXIT_NOT_FOUND, "no user '%s' in '%s': see beck user list",
                          call->arguments[0], call->data_dir);
    }
    return call_fail(call, status, err);
}

/* Ends a change: closes, and says what was done unless it failed. */
static int finish(const struct call *call, struct access *a, beck_status status,
                  const beck_error *err, const char *done)
{
    access_close(a);
    if (status) {
        return fail(call, status, err);
    }
    call_say(call, "user '%s' %s", call->arguments[0], done);
    return EXIT_DONE;
}

/* ---- list and show ---- */

static beck_status rules_json(const struct access_user *user, struct buf *out)
{
    static const char *const kinds[] = {
        [ACCESS_SERVER] = "server", [ACCESS_BUS] = "bus", [ACCESS_QUEUE] = "queue"};
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < user->rule_count && !status; i++) {
        const struct access_rule *rule = &user->rules[i];
        status = buf_printf(out, "%s{\"%s\":", i ? "," : "", kinds[rule->kind]);
        if (!status) {
            status = rule->kind == ACCESS_SERVER ? buf_append_text(out, "true")
                                                 : json_write_string(out, beck_str(rule->pattern));
        }
        if (!status) {
            status = buf_append_text(out, ",\"rights\":[");
        }
        if (!status) {
            status = user_rights_text(rule->rights, "\"", out);
        }
        if (!status) {
            status = buf_append_text(out, "]}");
        }
    }
    status = status ? status : buf_append_byte(out, ']');
    return status ? status : buf_terminate(out);
}

static beck_status tokens_json(const struct access_user *user, struct buf *out)
{
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < user->token_count && !status; i++) {
        status = i ? buf_append_byte(out, ',') : BECK_OK;
        if (!status) {
            status = json_write_string(out, beck_str(user->tokens[i]));
        }
    }
    status = status ? status : buf_append_byte(out, ']');
    return status ? status : buf_terminate(out);
}

static int user_json(const struct call *call, const struct access_user *user)
{
    struct json_line j;
    struct buf rules, tokens;
    buf_init(&rules, 1 << 20);
    buf_init(&tokens, 1 << 20);
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(user->name));
    json_line_bool(&j, "password", user->has_password);
    if (rules_json(user, &rules) || tokens_json(user, &tokens)) {
        j.status = BECK_ENOMEM;
    } else {
        json_line_raw(&j, "rules", (const char *)rules.data);
        json_line_raw(&j, "tokens", (const char *)tokens.data);
    }
    buf_release(&rules);
    buf_release(&tokens);
    return json_line_print(&j, call);
}

struct listing {
    const struct call *call;
    struct table table;
    size_t count;
    int code;
};

static int list_one(void *ctx, const struct access_user *user)
{
    struct listing *l = ctx;
    l->count++;
    if (l->call->json) {
        l->code = user_json(l->call, user);
        return l->code != EXIT_DONE || output_broken();
    }
    struct buf rules;
    buf_init(&rules, 1 << 20);
    for (size_t i = 0; i < user->rule_count && !l->table.status; i++) {
        l->table.status = i ? buf_append_byte(&rules, ' ') : BECK_OK;
        if (!l->table.status) {
            l->table.status = user_rule_text(&user->rules[i], &rules);
        }
    }
    table_text(&l->table, user->name);
    table_text(&l->table, user->has_password ? "yes" : "-");
    table_number(&l->table, (int64_t)user->token_count);
    table_text(&l->table,
               user->rule_count && !buf_terminate(&rules) ? (const char *)rules.data : "-");
    buf_release(&rules);
    return 0;
}

static int list_run(struct call *call)
{
    static const char *const headings[] = {"USER", "PASSWORD", ">TOKENS", "RULES", NULL};
    struct listing l = {.call = call};
    struct access *a;
    beck_error err;
    int code = open_users(call, CALL_INSPECT, &a);
    if (code) {
        return code;
    }
    table_init(&l.table, headings);
    beck_status status = access_list_users(a, list_one, &l, &err);
    bool none = l.count == 0;
    access_close(a);
    if (!status && !l.code && !none && !call->json) {
        return table_print(&l.table, call);
    }
    buf_release(&l.table.cells);
    if (!status && none && !call->json) {
        call_say(call, "no user in '%s' yet: beck user add makes one", call->data_dir);
    }
    return status ? call_fail(call, status, &err) : l.code;
}

struct showing {
    const struct call *call;
    bool found;
    int code;
};

static void show_fields(const struct call *call, const struct access_user *user)
{
    struct buf rule;
    print_field(call, "user", "%s", user->name);
    print_field(call, "password", "%s", user->has_password ? "yes" : "none");
    buf_init(&rule, 1024);
    for (size_t i = 0; i < user->rule_count; i++) {
        buf_clear(&rule);
        if (!user_rule_text(&user->rules[i], &rule) && !buf_terminate(&rule)) {
            print_field(call, "may", "%s", (const char *)rule.data);
        }
    }
    buf_release(&rule);
    for (size_t i = 0; i < user->token_count; i++) {
        print_field(call, "token", "%s", user->tokens[i]);
    }
}

static int show_one(void *ctx, const struct access_user *user)
{
    struct showing *s = ctx;
    if (strcmp(user->name, s->call->arguments[0]) != 0) {
        return 0;
    }
    s->found = true;
    if (s->call->json) {
        s->code = user_json(s->call, user);
    } else {
        show_fields(s->call, user);
    }
    return 1;
}

static int show_run(struct call *call)
{
    struct showing s = {.call = call};
    struct access *a;
    beck_error err;
    int code = open_users(call, CALL_INSPECT, &a);
    if (code) {
        return code;
    }
    beck_status status = access_list_users(a, show_one, &s, &err);
    access_close(a);
    if (status) {
        return call_fail(call, status, &err);
    }
    return s.found ? s.code : fail(call, BECK_ENOENT, NULL);
}

/* ---- changes ---- */

static int is_user(void *ctx, const struct access_user *user)
{
    struct showing *s = ctx;
    s->found = s->found || strcmp(user->name, s->call->arguments[0]) == 0;
    return s->found;
}

static beck_status find(const struct call *call, struct access *a, bool *found, beck_error *err)
{
    struct showing s = {.call = call};
    beck_status status = access_list_users(a, is_user, &s, err);
    *found = s.found;
    return status;
}

/* Puts a user that must be there already, or must not. */
static int put(struct call *call, bool exists, const char *password,
               const struct access_rule *rules, size_t rule_count, const char *done)
{
    struct access *a;
    beck_error err;
    bool found;
    const char *name = call->arguments[0];
    int code = open_users(call, exists ? CALL_EXISTING : CALL_CREATE, &a);
    if (code) {
        return code;
    }
    beck_status status = find(call, a, &found, &err);
    if (!status && found != exists) {
        access_close(a);
        return exists ? fail(call, BECK_ENOENT, NULL)
                      : call_error(call, EXIT_EXISTS,
                                   "user '%s' exists: change it with beck user password or "
                                   "beck user permit",
                                   name);
    }
    if (!status) {
        status = access_put_user(a, name, beck_str(password), rules, rule_count, &err);
    }
    return finish(call, a, status, &err, done);
}

static int add_run(struct call *call)
{
    char password[PASSWORD_SIZE];
    const char *texts[ACCESS_RULES_MAX + 1];
    size_t count = option_count(call, "allow");
    bool none = option_flag(call, "no-password");
    if (count > ACCESS_RULES_MAX) {
        return call_usage(call, "a user has at most %d rules", ACCESS_RULES_MAX);
    }
    if (none && option_flag(call, "password-stdin")) {
        return call_usage(call, "--no-password and --password-stdin exclude each other");
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = option_text_at(call, "allow", i);
    }
    struct access_rule *rules = user_rules_read(call, texts, count);
    if (!rules) {
        return EXIT_USAGE;
    }
    int code = none ? EXIT_DONE
                    : password_ask(call, option_flag(call, "password-stdin"), call->arguments[0],
                                   password);
    if (!code) {
        code = put(call, false, none ? NULL : password, rules, count, "is added");
    }
    password_forget(password);
    user_rules_free(rules, count);
    return code;
}

static int password_run(struct call *call)
{
    char password[PASSWORD_SIZE];
    int code =
        password_ask(call, option_flag(call, "password-stdin"), call->arguments[0], password);
    if (!code) {
        code = put(call, true, password, NULL, 0, "has the new password");
    }
    password_forget(password);
    return code;
}

static int permit_run(struct call *call)
{
    size_t count = call->argument_count - 1;
    if ((count == 0) != option_flag(call, "nothing")) {
        return call_usage(call, "give the rules that the user is to have, or --nothing");
    }
    struct access_rule *rules = user_rules_read(call, call->arguments + 1, count);
    if (!rules) {
        return EXIT_USAGE;
    }
    int code = put(call, true, NULL, rules, count, "has these rules, and no others");
    user_rules_free(rules, count);
    return code;
}

static int delete_run(struct call *call)
{
    struct access *a;
    beck_error err;
    int code = open_users(call, CALL_EXISTING, &a);
    if (code) {
        return code;
    }
    return finish(call, a, access_delete_user(a, call->arguments[0], &err), &err, "is deleted");
}

static int token_run(struct call *call)
{
    struct access *a;
    struct json_line j;
    char token[ACCESS_TOKEN_SIZE];
    beck_error err;
    int code = open_users(call, CALL_EXISTING, &a);
    if (code) {
        return code;
    }
    beck_status status = access_make_token(a, call->arguments[0], call->arguments[1], token, &err);
    access_close(a);
    if (status) {
        return fail(call, status, &err);
    }
    if (!call->json) {
        call_say(call, "token '%s' of user '%s'; it is shown this once:", call->arguments[1],
                 call->arguments[0]);
        puts(token);
        return EXIT_DONE;
    }
    json_line_begin(&j);
    json_line_text(&j, "user", beck_str(call->arguments[0]));
    json_line_text(&j, "name", beck_str(call->arguments[1]));
    json_line_text(&j, "token", beck_str(token));
    return json_line_print(&j, call);
}

static int revoke_run(struct call *call)
{
    struct access *a;
    beck_error err;
    int code = open_users(call, CALL_EXISTING, &a);
    if (code) {
        return code;
    }
    return finish(call, a, access_revoke_token(a, call->arguments[0], call->arguments[1], &err),
                  &err, "has that token no more");
}

/* ---- the commands ---- */

#define RULES_ABOUT                                                                                \
    "RULE is bus:PATTERN=RIGHTS, queue:PATTERN=RIGHTS or server=RIGHTS. In a PATTERN * stands\n"   \
    "for any characters. RIGHTS of a bus: publish, read, admin, create (part of admin: by "        \
    "Kafka's\n"                                                                                    \
    "clients); of a queue: read, work, admin; of both: describe (part of all but create); of\n"    \
    "the server: those of all buses and queues, and with admin everything."

static const struct option password_options[] = {
    {.name = "password-stdin",
     .kind = OPTION_FLAG,
     .help = "the password is a line of standard input"},
    {0}};
static const struct option add_options[] = {
    {.name = "allow",
     .letter = 'a',
     .kind = OPTION_TEXT,
     .value = "RULE",
     .repeatable = true,
     .help = "what the user may do"},
    {.name = "password-stdin",
     .kind = OPTION_FLAG,
     .help = "the password is a line of standard input"},
    {.name = "no-password", .kind = OPTION_FLAG, .help = "tokens only"},
    {0}};
static const struct option permit_options[] = {
    {.name = "nothing", .kind = OPTION_FLAG, .help = "take all rules away"}, {0}};

static const struct command list = {
    .name = "list", .help = "all users", .examples = "beck user list", .run = list_run};
static const struct command show = {.name = "show",
                                    .arguments = "USER",
                                    .arguments_min = 1,
                                    .arguments_max = 1,
                                    .help = "rules and names of tokens of a user",
                                    .examples = "beck user show ada",
                                    .run = show_run};
static const struct command add = {
    .name = "add",
    .arguments = "USER",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "make a user",
    .about = "The password is asked for, or read from standard input.\n" RULES_ABOUT,
    .examples = "beck user add ada --allow server=admin\n"
                "beck user add shop --allow 'bus:orders.*=publish' --password-stdin < secret\n"
                "beck user add ci --no-password --allow 'queue:*=work'",
    .options = add_options,
    .run = add_run};
static const struct command delete = {.name = "delete",
                                      .arguments = "USER",
                                      .arguments_min = 1,
                                      .arguments_max = 1,
                                      .help = "delete a user with all tokens",
                                      .about =
                                          "Without users, whoever comes from this machine may do "
                                          "everything.",
                                      .examples = "beck user delete ada",
                                      .run = delete_run};
static const struct command password = {.name = "password",
                                        .arguments = "USER",
                                        .arguments_min = 1,
                                        .arguments_max = 1,
                                        .help = "set the password of a user",
                                        .examples = "beck user password ada",
                                        .options = password_options,
                                        .run = password_run};
static const struct command permit = {
    .name = "permit",
    .arguments = "USER [RULE...]",
    .arguments_min = 1,
    .arguments_max = 1 + ACCESS_RULES_MAX,
    .help = "say what a user may do, instead of what was said before",
    .about = RULES_ABOUT,
    .examples = "beck user permit shop 'bus:orders.*=publish,read' 'queue:billing=work'\n"
                "beck user permit ada server=admin\nbeck user permit eve --nothing",
    .options = permit_options,
    .run = permit_run};
static const struct command token = {
    .name = "token",
    .arguments = "USER NAME",
    .arguments_min = 2,
    .arguments_max = 2,
    .help = "make a token, which stands for user and password",
    .about = "It is printed once and kept nowhere. For HTTP: Authorization: Bearer TOKEN.",
    .examples = "beck user token shop checkout-service > token.txt",
    .run = token_run};
static const struct command revoke = {.name = "revoke",
                                      .arguments = "USER NAME",
                                      .arguments_min = 2,
                                      .arguments_max = 2,
                                      .help = "make a token worthless",
                                      .examples = "beck user revoke shop checkout-service",
                                      .run = revoke_run};

static const struct command *const children[] = {&list,   &show,  &add,    &delete, &password,
                                                 &permit, &token, &revoke, NULL};

const struct command command_user = {
    .name = "user",
    .help = "list, show, add and delete users, their passwords, rules and tokens",
    .children = children};
