/* Events as lines. Columns grow with what they have met, so that a stream stays readable. */
#include "cli/event_printer.h"
#include "cli/print.h"
#include "event/value.h"
#include "event/event.h"
#include <stdio.h>
#include <unistd.h>

#define DATA_COLUMNS 200 /* of data, where no terminal says how many */

const char *const event_forms[] = {"human", "ndjson", "envelope", NULL};

void event_printer_init(struct event_printer *p, const struct call *call, int format)
{
    *p = (struct event_printer){
        .call = call, .width = print_width(), .type = 14, .subject = 7, .position = 10};
    bool human = !call->json && isatty(STDOUT_FILENO) == 1;
    p->form = format >= 0 ? (enum event_form)format : human ? EVENT_HUMAN : EVENT_NDJSON;
    buf_init(&p->line, 1u << 20);
}

void event_printer_release(struct event_printer *p)
{
    buf_release(&p->line);
}

/* ---- for people ---- */

/* Text in a column that grows with what it has met, up to `most`. */
static size_t add_column(struct event_printer *p, const char *color, beck_bytes text,
                         size_t *column, size_t most)
{
    if (p->call->color_out) {
        (void)buf_append_text(&p->line, color);
    }
    size_t used = print_safe(&p->line, text, most);
    if (p->call->color_out) {
        (void)buf_append_text(&p->line, "\033[0m");
    }
    *column = used > *column ? used : *column;
    (void)buf_printf(&p->line, "%*s", (int)(*column - used + 2), "");
    return *column + 2;
}

static void add_data(struct event_printer *p, const beck_event *e, size_t used)
{
    size_t room = p->width > used + 20 ? p->width - used - 1 : DATA_COLUMNS;
    if (e->data.len == 0) {
        return;
    }
    bool text = event_data_is_json(e) || bytes_is_utf8(e->data);
    if (text) {
        print_safe(&p->line, e->data, room);
    } else {
        (void)buf_printf(&p->line, "(%zu bytes)", e->data.len);
    }
}

static void print_human(struct event_printer *p, const beck_event *e)
{
    char time[VALUE_TEXT_MAX], position[POSITION_TEXT_MAX];
    value_time_text(e->time_ns, p->call->now_ns, time);
    print_position(position, e->bus, e->position);
    buf_clear(&p->line);
    size_t time_column = 0;
    size_t used = add_column(p, "\033[2m", beck_str(time), &time_column, 30);
    used += add_column(p, "\033[1m", e->type, &p->type, 40);
    used += add_column(p, "\033[36m", e->subject.len ? e->subject : beck_str("-"), &p->subject, 28);
    used += add_column(p, "\033[2m", beck_str(position), &p->position, 40);
    add_data(p, e, used);
    while (p->line.len > 0 && p->line.data[p->line.len - 1] == ' ') {
        p->line.len--;
    }
    (void)buf_append_byte(&p->line, '\n');
    fwrite(p->line.data, 1, p->line.len, stdout);
}

/* ---- for programs ---- */

static int print_json(struct event_printer *p, const beck_event *e)
{
    char *text;
    size_t len;
    beck_error err;
    beck_form form = p->form == EVENT_ENVELOPE ? BECK_FORM_ENVELOPE : BECK_FORM_CLOUDEVENTS;
    beck_status status = beck_format(e, form, &text, &len, &err);
    if (status) {
        return call_fail(p->call, status, &err);
    }
    fwrite(text, 1, len, stdout);
    putchar('\n');
    beck_text_free(text);
    return EXIT_DONE;
}

int event_printer_print(struct event_printer *p, const beck_event *e)
{
    if (p->form != EVENT_HUMAN) {
        return print_json(p, e);
    }
    print_human(p, e);
    return EXIT_DONE;
}
