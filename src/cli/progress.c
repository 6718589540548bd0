/* One line of progress, drawn over itself: count, share, rate, and the time left when the total is
 * known. */
#include "cli/progress.h"
#include "base/clock.h"
#include "event/value.h"
#include <stdio.h>
#include <unistd.h>

#define DRAW_EVERY_NS 100000000

void progress_init(struct progress *p, const struct call *call, const char *label,
                   enum progress_unit unit, int64_t total)
{
    *p = (struct progress){.label = label, .unit = unit, .total = total};
    p->shown = !call->quiet && isatty(STDERR_FILENO) == 1;
    p->start_ns = clock_mono_ns(clock_system());
    p->next_ns = p->start_ns + DRAW_EVERY_NS;
}

static void amount_text(const struct progress *p, int64_t amount, char out[VALUE_TEXT_MAX])
{
    if (p->unit == PROGRESS_BYTES) {
        value_size_text(amount, out);
    } else {
        value_number_text(amount, out);
    }
}

void progress_update(struct progress *p, int64_t done, const char *note)
{
    if (!p->shown) {
        return;
    }
    int64_t now = clock_mono_ns(clock_system());
    if (now < p->next_ns) {
        return;
    }
    p->next_ns = now + DRAW_EVERY_NS;

    double seconds = (double)(now - p->start_ns) / 1e9;
    double rate = (double)done / seconds;
    const char *unit = p->unit == PROGRESS_EVENTS ? " events" : "";
    char done_text[VALUE_TEXT_MAX], rate_text[VALUE_TEXT_MAX];
    amount_text(p, done, done_text);
    amount_text(p, (int64_t)rate, rate_text);
    fprintf(stderr, "\r\033[K%s: %s", p->label, done_text);
    if (p->total > 0 && done <= p->total) {
        char total_text[VALUE_TEXT_MAX], left_text[VALUE_TEXT_MAX];
        amount_text(p, p->total, total_text);
        double left = rate > 0 ? (double)(p->total - done) / rate : 0;
        value_duration_text((int64_t)left * 1000, left_text);
        fprintf(stderr, " of %s%s (%d%%), %s/s, %s left", total_text, unit,
                (int)(100.0 * (double)done / (double)p->total), rate_text, left_text);
    } else {
        fprintf(stderr, "%s, %s/s", unit, rate_text);
    }
    if (note) {
        fprintf(stderr, ", %s", note);
    }
    fflush(stderr);
    p->drawn = true;
}

void progress_hide(struct progress *p)
{
    if (p->drawn) {
        fputs("\r\033[K", stderr);
        p->drawn = false;
    }
}

void progress_end(struct progress *p)
{
    progress_hide(p);
    p->shown = false;
}
