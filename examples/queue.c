/*
 * Background work: events are kept on disk, and a queue hands each to one of several workers until
 * it is handled. What fails is tried again after a while; what keeps failing becomes a dead letter
 * with its history, and can be sent again once the cause is repaired.
 */
#include "example.h"

#include <stdatomic.h>

struct mailer {
    atomic_int sent;
    atomic_bool address_is_repaired;
};

/* Runs on a worker's thread. */
static int send_mail(void *ctx, const beck_delivery *delivery, char *why)
{
    struct mailer *m = ctx;
    const beck_event *event = delivery->event;
    bool broken = event->subject.len == 5 && memcmp(event->subject.data, "user3", 5) == 0;
    if (broken && !m->address_is_repaired) {
        snprintf(why, 256, "no such address");
        return BECK_RETRY;
    }
    if (delivery->attempt == 1 && event->position.offset % 4 == 1) {
        snprintf(why, 256, "mail server is busy");
        return BECK_RETRY;
    }
    printf("  mail to %.*s sent at attempt %u\n", TEXT(event->subject), delivery->attempt);
    m->sent++;
    return BECK_SETTLE;
}

static int show_dead(void *ctx, const beck_dead *dead)
{
    int *count = ctx;
    ++*count;
    printf("  dead letter: %.*s about %.*s after %u attempts (%s)\n    %s\n",
           TEXT(dead->event->type), TEXT(dead->event->subject), dead->attempts, dead->reason,
           dead->history);
    return 0;
}

int main(void)
{
    const char *dir = make_dir();
    struct mailer mailer = {0};
    beck_error err;
    beck *b;
    beck_bus *users;
    must(beck_open(&b, &(beck_options){.data_dir = dir}, &err), &err);
    must(beck_bus_create(b, "users", NULL, &users, &err), &err);

    beck_queue_options options = {
        .attempts_max = 3,
        .backoff = {.kind = BECK_BACKOFF_EXPONENTIAL, .first_ms = 10, .max_ms = 1000},
    };
    must(beck_queue_create(b, "welcome", &options, &err), &err);
    must(beck_queue_bind(b, "welcome",
                         &(beck_binding){.bus = "users", .pattern = "user.registered"}, &err),
         &err);

    printf("eight users register, and four do something else\n");
    for (int i = 0; i < 8; i++) {
        char subject[16];
        snprintf(subject, sizeof subject, "user%d", i);
        beck_event event = {.type = beck_str("user.registered"), .subject = beck_str(subject)};
        must(beck_publish(users, &event, &err), &err);
        event.type = beck_str("user.login");
        if (i % 2 == 0)
            must(beck_publish(users, &event, &err), &err);
    }

    beck_workers *workers;
    must(beck_workers_start(b, "welcome", send_mail, &mailer, &(beck_worker_options){.threads = 2},
                            &workers, &err),
         &err);
    wait_until_idle(b, "welcome");
    int dead = 0;
    must(beck_dead_list(b, "welcome", 0, show_dead, &dead, &err), &err);
    expect(mailer.sent == 7 && dead == 1, "seven mails are sent, one is a dead letter");

    printf("the address is repaired; the dead letter is sent again\n");
    mailer.address_is_repaired = true;
    int64_t redriven;
    must(beck_dead_redrive(b, "welcome", -1, &redriven, &err), &err);
    wait_until_idle(b, "welcome");
    expect(redriven == 1 && mailer.sent == 8, "everybody got a mail");

    beck_workers_stop(workers);
    beck_close(b);
    remove_dir(dir);
    return 0;
}
