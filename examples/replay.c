/*
 * Event replay: what happened is kept, what is known follows from it. Balances are not stored; they
 * are a fold of the events, and can be computed anew, up to any time, and for one account alone.
 */
#include "example.h"

#define ACCOUNTS 3
#define MINUTE_MS INT64_C(60000)
#define NINE INT64_C(1767258000000) /* 2026-01-01 09:00 UTC */

struct balances {
    int64_t of[ACCOUNTS];
    int events;
};

static void deposit_or_withdraw(beck_bus *bank, int minute, int account, int amount)
{
    char subject[16], data[64];
    snprintf(subject, sizeof subject, "ACC-%d", account);
    snprintf(data, sizeof data, "{\"amount\": %d}", abs(amount));
    beck_event event = {.type = beck_str(amount > 0 ? "money.deposited" : "money.withdrawn"),
                        .subject = beck_str(subject),
                        .time_ns = (NINE + minute * MINUTE_MS) * 1000000,
                        .data = beck_str(data)};
    beck_error err;
    must(beck_publish(bank, &event, &err), &err);
}

/* The fold: one event more. */
static void apply(struct balances *balances, const beck_event *event)
{
    int account = ((const char *)event->subject.data)[4] - '0';
    char data[64];
    snprintf(data, sizeof data, "%.*s", TEXT(event->data));
    int64_t amount = atoi(strchr(data, ':') + 1);
    bool deposited = ((const char *)event->type.data)[6] == 'd';
    balances->of[account] += deposited ? amount : -amount;
    balances->events++;
}

static struct balances read_balances(beck_bus *bank, const beck_read_options *options)
{
    struct balances balances = {0};
    beck_error err;
    beck_reader *reader;
    const beck_event *event;
    must(beck_reader_open(bank, options, &reader, &err), &err);
    beck_status status;
    while ((status = beck_reader_next(reader, 0, &event, &err)) == BECK_OK)
        apply(&balances, event);
    if (status != BECK_END)
        must(status, &err);
    beck_reader_close(reader);
    return balances;
}

static void print(const char *what, const struct balances *b)
{
    printf("%-24s %2d events: ", what, b->events);
    for (int i = 0; i < ACCOUNTS; i++)
        printf(" ACC-%d %4lld", i, (long long)b->of[i]);
    printf("\n");
}

int main(void)
{
    const char *dir = make_dir();
    beck_error err;
    beck *b;
    beck_bus *bank;
    must(beck_open(&b, &(beck_options){.data_dir = dir}, &err), &err);
    must(beck_bus_create(b, "bank", NULL, &bank, &err), &err);
    for (int minute = 0; minute < 60; minute++)
        deposit_or_withdraw(bank, minute, minute % ACCOUNTS, minute % 5 == 4 ? -30 : 10);
    beck_close(b);

    /* Another day: nothing is left but the log. */
    must(beck_open(&b, &(beck_options){.data_dir = dir}, &err), &err);
    must(beck_bus_get(b, "bank", &bank, &err), &err);
    beck_from start = {.kind = BECK_FROM_EARLIEST};

    struct balances now = read_balances(bank, &(beck_read_options){.from = start});
    print("now", &now);
    expect(now.events == 60, "nothing is lost");

    struct balances then = read_balances(
        bank, &(beck_read_options){.from = start, .until_time_ms = NINE + 30 * MINUTE_MS});
    print("at 09:30", &then);
    expect(then.events == 30, "half of it had happened");

    struct balances between = read_balances(
        bank,
        &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = NINE + 30 * MINUTE_MS},
                             .until_time_ms = NINE + 40 * MINUTE_MS});
    print("from 09:30 to 09:40", &between);
    expect(between.events == 10, "ten minutes, ten events");

    struct balances one =
        read_balances(bank, &(beck_read_options){.from = start, .subject = beck_str("ACC-1")});
    print("one account", &one);
    expect(one.events == 20 && one.of[1] == now.of[1] && one.of[0] == 0,
           "the same as in the whole");

    struct balances withdrawn =
        read_balances(bank, &(beck_read_options){.from = start, .pattern = "money.withdrawn"});
    print("withdrawals", &withdrawn);
    expect(withdrawn.of[0] + withdrawn.of[1] + withdrawn.of[2] == -30 * 12, "each fifth event");

    beck_close(b);
    remove_dir(dir);
    return 0;
}
