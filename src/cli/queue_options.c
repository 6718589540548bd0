/* Options of a queue, read from a call and printed. */
#include "cli/queue_options.h"
#include "event/value.h"

const char *const queue_overflows[] = {"drop-oldest", "refuse", NULL};

static const char *const yes_no[] = {"no", "yes", NULL};

const struct option queue_alter_options[] = {QUEUE_LIMITS,
                                             {.name = "no-dead-letters",
                                              .kind = OPTION_CHOICE,
                                              .choices = yes_no,
                                              .help = "drop instead of keeping them"},
                                             {0}};

static bool read_limits(const struct call *call, beck_queue_options *o)
{
    static const char *const names[] = {"attempts", "backoff",  "deadline",
                                        "ttl",      "overflow", "length-max"};
    bool any = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        any = any || option_given(call, names[i]);
    }
    o->attempts_max = (uint32_t)option_number(call, "attempts", o->attempts_max);
    o->ttl_ms = option_number(call, "ttl", o->ttl_ms);
    o->length_max = option_number(call, "length-max", o->length_max);
    if (option_given(call, "backoff")) {
        o->backoff = option_backoff(call, "backoff");
    }
    if (option_given(call, "deadline")) {
        o->deadline_ms = option_number(call, "deadline", 0);
        o->deadline_ms = o->deadline_ms ? o->deadline_ms : -1;
    }
    if (option_given(call, "overflow")) {
        o->overflow = (beck_overflow)option_choice(call, "overflow");
    }
    return any;
}

/* What would never happen was meant otherwise. */
static int check_overflow(const struct call *call, const beck_queue_options *o)
{
    if (option_given(call, "overflow") && o->length_max == 0) {
        return call_usage(call, "--overflow says what a full queue does, and this one is never "
                                "full: give --length-max as well");
    }
    return EXIT_DONE;
}

int queue_options_read(const struct call *call, beck_queue_options *o, bool *any)
{
    *any = read_limits(call, o) || option_given(call, "priorities") ||
           option_flag(call, "no-dead-letters");
    o->priority_max = (uint32_t)option_number(call, "priorities", o->priority_max);
    o->no_dead_letters = o->no_dead_letters || option_flag(call, "no-dead-letters");
    return check_overflow(call, o);
}

int queue_options_change(const struct call *call, beck_queue_options *o)
{
    read_limits(call, o);
    if (option_given(call, "no-dead-letters")) {
        o->no_dead_letters = option_choice(call, "no-dead-letters") == 1;
    }
    return check_overflow(call, o);
}

static void backoff_text(const beck_backoff *b, struct buf *out)
{
    buf_init(out, 1024);
    if (value_backoff_text(b, out) || buf_terminate(out)) {
        buf_clear(out);
    }
}

void queue_options_print(const struct call *call, const beck_queue_options *o)
{
    char text[VALUE_TEXT_MAX];
    struct buf backoff;
    backoff_text(&o->backoff, &backoff);
    print_field(call, "storage", "%s", o->storage == BECK_STORAGE_MEMORY ? "memory" : "disk");
    print_field(call, "attempts", "%u", o->attempts_max);
    print_field(call, "backoff", "%s", backoff.len ? (char *)backoff.data : "?");
    value_duration_text(o->deadline_ms, text);
    print_field(call, "deadline", "%s", text);
    if (o->ttl_ms > 0) {
        value_duration_text(o->ttl_ms, text);
        print_field(call, "ttl", "%s", text);
    }
    if (o->length_max > 0) {
        value_number_text(o->length_max, text);
        print_field(call, "length max", "%s, then %s", text, queue_overflows[o->overflow]);
    }
    if (o->priority_max > 0) {
        print_field(call, "priorities", "0 to %u", o->priority_max);
    }
    print_field(call, "dead letters", "%s", o->no_dead_letters ? "dropped" : "kept");
    buf_release(&backoff);
}

void queue_options_json(struct json_line *j, const beck_queue_options *o)
{
    struct buf backoff;
    backoff_text(&o->backoff, &backoff);
    json_line_object_begin(j, "options");
    json_line_text(j, "storage", beck_str(o->storage == BECK_STORAGE_MEMORY ? "memory" : "disk"));
    json_line_number(j, "attempts_max", o->attempts_max);
    json_line_text(j, "backoff", buf_bytes(&backoff));
    json_line_number(j, "deadline_ms", o->deadline_ms);
    json_line_number(j, "ttl_ms", o->ttl_ms);
    json_line_number(j, "length_max", o->length_max);
    json_line_text(j, "overflow", beck_str(queue_overflows[o->overflow]));
    json_line_number(j, "priority_max", o->priority_max);
    json_line_bool(j, "no_dead_letters", o->no_dead_letters);
    json_line_object_end(j);
    buf_release(&backoff);
}
