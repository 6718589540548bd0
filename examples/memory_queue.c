/*
 * A queue in memory, in a program with one thread: the program takes from it when it has time, and
 * says for each event how it went. Nothing touches the disk, and the library starts no thread.
 */
#include "example.h"

#include <dirent.h>

static void add(beck_bus *bus, const char *type, uint32_t priority)
{
    beck_event event = {.type = beck_str(type), .priority = priority};
    beck_error err;
    must(beck_publish(bus, &event, &err), &err);
}

static bool is(const beck_delivery *delivery, const char *type)
{
    return delivery->event->type.len == strlen(type) &&
           memcmp(delivery->event->type.data, type, strlen(type)) == 0;
}

/* Tells the queue how it went; the words show it. */
static const char *handle(beck_consumer *consumer, const beck_delivery *delivery)
{
    beck_error err;
    if (is(delivery, "job.flaky") && delivery->attempt < 3) {
        must(beck_retry(consumer, delivery->tag, 0, "not yet", &err), &err);
        return "retried";
    }
    if (is(delivery, "job.wrong")) {
        must(beck_reject(consumer, delivery->tag, "makes no sense", &err), &err);
        return "rejected";
    }
    must(beck_settle(consumer, &delivery->tag, 1, &err), &err);
    return "settled";
}

static int threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *e = readdir(tasks); e != NULL; e = readdir(tasks))
        count += e->d_name[0] != '.';
    closedir(tasks);
    return count;
}

int main(void)
{
    int threads_before = threads();
    beck_error err;
    beck *b;
    beck_bus *jobs;
    beck_consumer *consumer;
    must(beck_open(&b, NULL, &err), &err);
    must(beck_bus_create(b, "jobs", NULL, &jobs, &err), &err);
    must(beck_queue_create(b, "todo", &(beck_queue_options){.priority_max = 1}, &err), &err);
    must(beck_queue_bind(b, "todo", &(beck_binding){.bus = "jobs", .pattern = "job.*"}, &err),
         &err);
    must(beck_consumer_open(b, "todo", 1, &consumer, &err), &err);

    add(jobs, "job.plain", 0);
    add(jobs, "job.flaky", 0);
    add(jobs, "job.wrong", 0);
    add(jobs, "job.urgent", 1);
    add(jobs, "note.nobody.cares", 0);

    char order[256] = "";
    size_t length = 0;
    beck_delivery delivery;
    size_t count;
    beck_status status;
    while ((status = beck_take(consumer, &delivery, 1, 0, &count, &err)) == BECK_OK) {
        char line[64];
        snprintf(line, sizeof line, "%.*s", TEXT(delivery.event->type));
        uint32_t attempt = delivery.attempt;
        const char *how = handle(consumer, &delivery); /* the event is not to be used after it */
        printf("  %s, attempt %u: %s\n", line, attempt, how);
        length += (size_t)snprintf(order + length, sizeof order - length, "%s ", line + 4);
    }
    expect(status == BECK_ETIMEDOUT, "the queue is empty");
    expect(strcmp(order, "urgent plain flaky flaky flaky wrong ") == 0,
           "the urgent one comes first, and a retried one comes at its old place");
    beck_queue_info info;
    must(beck_queue_info_get(b, "todo", &info, &err), &err);
    printf("%lld settled, %lld retried, %lld dead\n", (long long)info.settled,
           (long long)info.retried, (long long)info.dead);
    expect(info.settled == 3 && info.retried == 2 && info.dead == 1, "the counts are exact");
    expect(threads() == threads_before, "no thread was started");

    beck_consumer_close(consumer);
    beck_close(b);
    return 0;
}
