/*
 * Many threads, one handle: four publish, four workers handle, and the program ends in the middle
 * of the work. beck_workers_stop lets every worker finish what it handles; the rest waits in the
 * queue for the next start. Nothing is lost, and nothing is handled twice.
 */
#include "example.h"

#include <pthread.h>
#include <stdatomic.h>

#define PUBLISHERS 4
#define EVENTS_EACH 2500
#define EVENTS (PUBLISHERS * EVENTS_EACH)

struct counts {
    atomic_int handled;
    atomic_char times[EVENTS]; /* each event was handled */
};

struct publisher {
    pthread_t thread;
    beck_bus *bus;
    int first;
};

/* Publishes in batches; each returns once it is synced. Syncs of several threads are one. */
static void *publish(void *arg)
{
    struct publisher *p = arg;
    beck_error err;
    for (int done = 0; done < EVENTS_EACH; done += 50) {
        beck_event events[50];
        char data[50][16];
        for (int i = 0; i < 50; i++) {
            snprintf(data[i], sizeof data[i], "%d", p->first + done + i);
            events[i] = (beck_event){.type = beck_str("work.todo"), .data = beck_str(data[i])};
        }
        must(beck_publish_many(p->bus, events, 50, NULL, NULL, &err), &err);
    }
    return NULL;
}

static int work(void *ctx, const beck_delivery *delivery, char *why)
{
    struct counts *counts = ctx;
    (void)why;
    char data[16];
    snprintf(data, sizeof data, "%.*s", TEXT(delivery->event->data));
    counts->times[atoi(data)]++;
    counts->handled++;
    return BECK_SETTLE;
}

static void run(const char *dir, struct counts *counts, bool publish_too, int until)
{
    beck_error err;
    beck *b;
    beck_bus *bus;
    beck_workers *workers;
    must(beck_open(&b, &(beck_options){.data_dir = dir}, &err), &err);
    must(beck_bus_create(b, "jobs", NULL, &bus, &err), &err);
    must(beck_queue_create(b, "work", NULL, &err), &err);
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "jobs"}, &err), &err);

    struct publisher publishers[PUBLISHERS];
    for (int i = 0; publish_too && i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.bus = bus, .first = i * EVENTS_EACH};
        pthread_create(&publishers[i].thread, NULL, publish, &publishers[i]);
    }
    must(beck_workers_start(b, "work", work, counts, &(beck_worker_options){.threads = 4}, &workers,
                            &err),
         &err);
    while (counts->handled < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    beck_workers_stop(workers);
    for (int i = 0; publish_too && i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);

    beck_queue_info info;
    must(beck_queue_info_get(b, "work", &info, &err), &err);
    printf("%d handled, %lld wait in the queue\n", counts->handled, (long long)info.ready);
    expect(counts->handled + info.ready == EVENTS, "each event is handled or waits");
    expect(info.in_flight == 0, "no worker holds one");
    beck_close(b);
}

int main(void)
{
    const char *dir = make_dir();
    static struct counts counts;
    run(dir, &counts, true, EVENTS / 4);
    run(dir, &counts, false, EVENTS);
    for (int i = 0; i < EVENTS; i++)
        expect(counts.times[i] == 1, "each event is handled once");
    remove_dir(dir);
    return 0;
}
