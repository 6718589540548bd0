/* beck dead: the events that queues gave up on. */
#include "cli/commands.h"
#include "cli/names.h"
#include "cli/print.h"
#include "event/value.h"
#include "event/json.h"
#include "event/time.h"
#include <stdio.h>

/* ---- list ---- */

/* The "why" of the last failure in a history, unescaped into `out`. */
static void last_why(const char *history, struct buf *out)
{
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, beck_str(history));
    while (!json_next(&r, &t, NULL) && t.kind != JSON_END) {
        if (t.kind == JSON_NAME && bytes_equal_text(t.raw, "why") && !json_next(&r, &t, NULL) &&
            t.kind == JSON_STRING) {
            buf_clear(out);
            (void)json_unescape(&t, out, NULL);
        }
    }
    (void)buf_terminate(out);
}

static int dead_json(const struct call *call, const char *queue, const beck_dead *dead)
{
    struct json_line j;
    char time[TIME_TEXT_MAX], *event;
    beck_error err;
    beck_status status = beck_format(dead->event, BECK_FORM_CLOUDEVENTS, &event, NULL, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    time_format(dead->died_ms * 1000000, time);
    json_line_begin(&j);
    json_line_text(&j, "queue", beck_str(queue));
    json_line_number(&j, "offset", dead->event->position.offset);
    json_line_text(&j, "reason", beck_str(dead->reason));
    json_line_number(&j, "attempts", dead->attempts);
    json_line_text(&j, "died", beck_str(time));
    json_line_object_begin(&j, "origin");
    json_line_text(&j, "bus", dead->event->bus);
    json_line_number(&j, "partition", dead->origin.partition);
    json_line_number(&j, "offset", dead->origin.offset);
    json_line_object_end(&j);
    json_line_raw(&j, "history", dead->history);
    json_line_raw(&j, "event", event);
    beck_text_free(event);
    return json_line_print(&j, call);
}

struct listing {
    const struct call *call;
    const char *queue;
    struct table table;
    int64_t count;
    int code;
};

static int list_one(void *ctx, const beck_dead *dead)
{
    struct listing *l = ctx;
    l->count++;
    if (l->call->json) {
        l->code = dead_json(l->call, l->queue, dead);
        return l->code != EXIT_DONE || output_broken();
    }
    char died[VALUE_TEXT_MAX];
    struct buf why;
    buf_init(&why, 4096);
    last_why(dead->history, &why);
    value_time_text(dead->died_ms * 1000000, l->call->now_ns, died);
    table_text(&l->table, l->queue);
    table_number(&l->table, dead->event->position.offset);
    table_text(&l->table, died);
    table_text(&l->table, dead->reason);
    table_number(&l->table, dead->attempts);
    table_bytes(&l->table, dead->event->type);
    table_bytes(&l->table, dead->event->subject);
    table_text(&l->table, why.len ? (const char *)why.data : "-");
    buf_release(&why);
    return 0;
}

static beck_status list_queues(struct listing *l, beck_error *err)
{
    const struct call *call = l->call;
    size_t max = (size_t)option_number(call, "limit", 0);
    if (call->argument_count) {
        l->queue = call->arguments[0];
        return beck_dead_list(call->handle, l->queue, max, list_one, l, err);
    }
    struct names names;
    names_init(&names);
    beck_status status = beck_queue_list(call->handle, names_add, &names, err);
    for (const char *name = names_next(&names, NULL); name && !status && !l->code;
         name = names_next(&names, name)) {
        l->queue = name;
        status = beck_dead_list(call->handle, name, max, list_one, l, err);
    }
    names_release(&names);
    return status;
}

static int list_run(struct call *call)
{
    static const char *const headings[] = {"QUEUE", ">OFFSET", "DIED", "REASON", ">ATTEMPTS",
                                           "TYPE",  "SUBJECT", "WHY",  NULL};
    struct listing l = {.call = call};
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    table_init(&l.table, headings);
    beck_status status = list_queues(&l, &err);
    if (!status && !l.code && l.count > 0 && !call->json) {
        return table_print(&l.table, call);
    }
    buf_release(&l.table.cells);
    if (!status && l.count == 0 && !call->json) {
        call_say(call, "no dead letters");
    }
    return status ? call_fail_queue(call, l.queue, status, &err) : l.code;
}

/* ---- show ---- */

struct showing {
    const struct call *call;
    int64_t offset;
    bool found;
    int code;
};

/* [{"attempt":1,"time":"...","why":"..."}] as lines. */
static void print_history(const struct call *call, const char *history)
{
    struct json_reader r;
    struct json_token t;
    char attempt[24] = "", time[TIME_TEXT_MAX] = "";
    struct buf why, safe;
    buf_init(&why, 8192);
    buf_init(&safe, 8192);
    json_reader_init(&r, beck_str(history));
    while (!json_next(&r, &t, NULL) && t.kind != JSON_END) {
        if (t.kind == JSON_OBJECT_END) {
            print_field(call, "failed", "%s  attempt %s: %.*s", time, attempt, (int)safe.len,
                        (const char *)safe.data);
        }
        if (t.kind != JSON_NAME) {
            continue;
        }
        struct json_token name = t;
        if (json_next(&r, &t, NULL)) {
            break;
        }
        if (bytes_equal_text(name.raw, "attempt")) {
            snprintf(attempt, sizeof attempt, "%.*s", (int)t.raw.len, (const char *)t.raw.data);
        } else if (bytes_equal_text(name.raw, "time")) {
            snprintf(time, sizeof time, "%.*s", (int)t.raw.len, (const char *)t.raw.data);
        } else if (bytes_equal_text(name.raw, "why") && t.kind == JSON_STRING) {
            buf_clear(&why);
            buf_clear(&safe);
            (void)json_unescape(&t, &why, NULL);
            print_safe(&safe, buf_bytes(&why), 1000);
        }
    }
    buf_release(&why);
    buf_release(&safe);
}

static int show_human(const struct call *call, const beck_dead *dead)
{
    char died[TIME_TEXT_MAX], origin[POSITION_TEXT_MAX], *event;
    beck_error err;
    beck_status status = beck_format(dead->event, BECK_FORM_CLOUDEVENTS, &event, NULL, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    time_format(dead->died_ms * 1000000, died); /* as those of the history */
    print_position(origin, dead->event->bus, dead->origin);
    print_field(call, "queue", "%s", call->arguments[0]);
    print_field(call, "offset", "%lld", (long long)dead->event->position.offset);
    print_field(call, "reason", "%s", dead->reason);
    print_field(call, "attempts", "%u", dead->attempts);
    print_field(call, "died", "%s", died);
    print_field(call, "stored at", "%s", origin);
    print_history(call, dead->history);
    print_field(call, "event", "%s", event);
    beck_text_free(event);
    return EXIT_DONE;
}

static int show_one(void *ctx, const beck_dead *dead)
{
    struct showing *s = ctx;
    if (dead->event->position.offset != s->offset) {
        return 0;
    }
    s->found = true;
    s->code =
        s->call->json ? dead_json(s->call, s->call->arguments[0], dead) : show_human(s->call, dead);
    return 1;
}

/* OFFSET, the second argument; -1 when it is not there. */
static int read_offset(const struct call *call, int64_t *offset)
{
    *offset = -1;
    if (call->argument_count > 1 && (!value_number(call->arguments[1], offset) || *offset < 0)) {
        return call_usage(call, "'%s' is no offset of a dead letter: see beck dead list",
                          call->arguments[1]);
    }
    return EXIT_DONE;
}

static int show_run(struct call *call)
{
    struct showing s = {.call = call};
    beck_error err;
    int code = read_offset(call, &s.offset);
    code = code ? code : call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_dead_list(call->handle, call->arguments[0], 0, show_one, &s, &err);
    if (status) {
        return call_fail_queue(call, call->arguments[0], status, &err);
    }
    if (!s.found) {
        return call_error(call, EXIT_NOT_FOUND,
                          "queue '%s' has no dead letter %lld: see beck dead list",
                          call->arguments[0], (long long)s.offset);
    }
    return s.code;
}

/* ---- redrive, purge ---- */

static int count_done(const struct call *call, const char *name, int64_t count, const char *done)
{
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "queue", beck_str(call->arguments[0]));
        json_line_number(&j, name, count);
        return json_line_print(&j, call);
    }
    call_say(call, "%lld dead letter%s of queue '%s' %s %s", (long long)count,
             count == 1 ? "" : "s", call->arguments[0], count == 1 ? "is" : "are", done);
    return EXIT_DONE;
}

static int redrive_run(struct call *call)
{
    int64_t offset, count = 0;
    beck_error err;
    int code = read_offset(call, &offset);
    code = code ? code : call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_dead_redrive(call->handle, call->arguments[0], offset, &count, &err);
    return status ? call_fail_queue(call, call->arguments[0], status, &err)
                  : count_done(call, "redriven", count, "queued again");
}

static int purge_run(struct call *call)
{
    int64_t offset, count = 0;
    beck_error err;
    int code = read_offset(call, &offset);
    code = code ? code : call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_dead_purge(call->handle, call->arguments[0], offset, &count, &err);
    return status ? call_fail_queue(call, call->arguments[0], status, &err)
                  : count_done(call, "purged", count, "removed");
}

static const struct option list_options[] = {{.name = "limit",
                                              .letter = 'n',
                                              .kind = OPTION_NUMBER,
                                              .min = 1,
                                              .help = "at most this many of each queue"},
                                             {0}};

static const struct command list = {.name = "list",
                                    .arguments = "[QUEUE]",
                                    .arguments_max = 1,
                                    .help = "dead letters of a queue, or of all, oldest first",
                                    .examples = "beck dead list\n"
                                                "beck dead list billing --json | jq .history",
                                    .options = list_options,
                                    .run = list_run};
static const struct command show = {.name = "show",
                                    .arguments = "QUEUE OFFSET",
                                    .arguments_min = 2,
                                    .arguments_max = 2,
                                    .help = "a dead letter with its history and its event",
                                    .examples = "beck dead show billing 0",
                                    .run = show_run};
static const struct command redrive = {.name = "redrive",
                                       .arguments = "QUEUE [OFFSET]",
                                       .arguments_min = 1,
                                       .arguments_max = 2,
                                       .help = "put one dead letter, or all, back into the queue",
                                       .about = "Attempts count anew; the history is kept.",
                                       .examples = "beck dead redrive billing\n"
                                                   "beck dead redrive billing 3",
                                       .run = redrive_run};
static const struct command purge = {.name = "purge",
                                     .arguments = "QUEUE [OFFSET]",
                                     .arguments_min = 1,
                                     .arguments_max = 2,
                                     .help = "remove one dead letter, or all",
                                     .examples = "beck dead purge billing 3",
                                     .run = purge_run};

static const struct command *const children[] = {&list, &show, &redrive, &purge, NULL};

const struct command command_dead = {
    .name = "dead", .help = "list, show, redrive and purge dead letters", .children = children};
