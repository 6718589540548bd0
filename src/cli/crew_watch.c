/* The first thread watches while workers work: see crew_watch.h. */
#include "cli/crew_watch.h"
#include "cli/print.h"
#include <poll.h>

#define IDLE_LOOK_MS 20

static void say_failed(void *ctx, const beck_delivery *d, const char *outcome, const char *why)
{
    const struct call *call = ctx;
    char position[POSITION_TEXT_MAX];
    struct buf type;
    buf_init(&type, 1024);
    print_safe(&type, d->event->type, 100);
    print_position(position, d->event->bus, d->event->position);
    call_say(call, "%s %.*s attempt %u %s: %s", position, (int)type.len, (const char *)type.data,
             d->attempt, outcome, why);
    buf_release(&type);
}

static void say_trouble(void *ctx, beck_status status, const beck_error *err)
{
    const struct call *call = ctx;
    if (status == BECK_ESTALE)
        call_warn(call, "%s", err->text);
    else
        call_fail(call, status, err);
}

static bool is_idle(const struct crew_options *o)
{
    beck_queue_info info;
    beck_error err;
    return beck_queue_info_get(o->b, o->queue, &info, &err) == 0 &&
           info.ready + info.in_flight + info.delayed == 0;
}

static void watch(struct call *call, struct crew *crew, const struct crew_options *o,
                  bool exit_when_idle)
{
    bool told = false;
    int stops = 0;
    while (crew_working(crew) > 0) {
        bool looks = exit_when_idle && !told;
        struct pollfd fds[] = {{.fd = call->stop_fd, .events = POLLIN},
                               {.fd = crew_fd(crew), .events = POLLIN}};
        poll(fds, 2, looks ? IDLE_LOOK_MS : -1);
        int now = call_stopping(call);
        if (now >= 2 && stops < 2)
            crew_hurry(crew);
        else if (now == 1 && stops == 0)
            call_say(call, "ending: what is being handled is finished first; once more kills");
        stops = now;
        if (!told && (stops || (looks && is_idle(o)))) {
            told = true;
            crew_end(crew);
        }
    }
}

int crew_watch(struct call *call, struct crew_options *options, bool exit_when_idle,
               struct crew_counts *counts)
{
    struct crew *crew;
    beck_queue_info info;
    beck_error err;
    options->b = call->handle;
    options->failed = say_failed;
    options->trouble = say_trouble;
    options->ctx = call;
    beck_status status = beck_queue_info_get(call->handle, options->queue, &info, &err);
    if (!status && info.paused)
        return call_error(call, EXIT_REFUSED, "queue '%s' is paused: beck queue resume %s opens it",
                          options->queue, options->queue);
    if (!status)
        status = crew_start(options, &crew, &err);
    if (status)
        return call_fail(call, status, &err);
    watch(call, crew, options, exit_when_idle);
    status = crew_join(crew, counts, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}
