/* Data directories that are not as they should be: what is refused, what is said, and what is done about it. */
#include "common.h"

#include "api/handle.h"
#include "bus/own_bus.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- what was said ---- */

struct said {
    int count;
    char text[4096]; /* of all, a line each */
};

static void hear(void *ctx, const beck_error *error)
{
    struct said *s = ctx;
    s->count++;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof s->text - at, "%s\n", error->text);
}

/* ---- directories ---- */

static const beck_bus_options small = {.segment_bytes = 4096};

/* A bus `d` with events 0 to 247, 62 in each segment, in two batches. */
static void make_data(const struct place *p)
{
    beck *b = open_place(p);
    beck_bus *d = make_bus(b, "d", &small);
    beck_event events[31];
    for (int i = 0; i < 31; i++)
        events[i] = event_of("t.x", "s", "0123456789012345678901234567890123456789");
    for (int i = 0; i < 8; i++)
        must(beck_publish_many(d, events, 31, NULL, NULL, &err));
    beck_close(b);
}

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static int64_t events_of(beck *b, const char *name)
{
    beck_bus *bus;
    beck_bus_info info;
    must(beck_bus_get(b, name, &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    return info.events;
}

/* ---- directories that nobody knows ---- */

static void a_bus_is_not_made_over_events_that_no_topology_knows(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    make_data(&p);
    shell("cp -r %s/d-0 %s/orders-0 && cp -r %s/orders-0 %s/kept", p.data, p.data, p.data, p.dir);
    beck *b = open_place(&p);
    beck_bus *bus;
    refused(beck_bus_create(b, "orders", NULL, &bus, &err), BECK_EEXIST, "beck import kafka");
    beck_close(b);
    shell("diff -r %s/orders-0 %s/kept", p.data, p.dir);
    /* As the remedy says. */
    shell("mkdir %s/away && mv %s/orders-0 %s/away", p.dir, p.data, p.dir);
    b = open_place(&p);
    char away[128];
    snprintf(away, sizeof away, "%s/away", p.dir);
    must(beck_kafka_import(b, away, "orders", "orders", NULL, NULL, &err));
    assert_int_equal(events_of(b, "orders"), 248);
    beck_close(b);
    place_remove(&p);
}

static void a_bus_is_made_over_what_the_making_of_one_left(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    shell("mkdir %s/orders-0 && : > %s/orders-0/00000000000000000000.log", p.data, p.data);
    make_bus(b, "orders", NULL);
    beck_close(b);
    place_remove(&p);
}

/* ---- what is damaged or missing ---- */

static beck_status verify(const struct place *p, struct said *s)
{
    memset(s, 0, sizeof *s);
    return beck_verify(p->data, hear, s, NULL, NULL);
}

static void assert_said(const struct said *s, const char *words)
{
    if (!strstr(s->text, words))
        fail_msg("\"%s\" is not in:\n%s", words, s->text);
}

/* Opened, or refused with a text that names what to do. */
static beck *try_open(const struct place *p, struct said *s)
{
    beck *b;
    beck_error err = {0};
    beck_options o = {.data_dir = p->data, .on_error = hear, .on_error_ctx = s};
    memset(s, 0, sizeof *s);
    if (!beck_open(&b, &o, &err))
        return b;
    if (!strstr(err.text, "verify --repair"))
        fail_msg("no remedy: %s", err.text);
    return NULL;
}

/* The events that a reader gets of `d`, and the errors. */
static int read_all(beck *b, struct said *s)
{
    beck_bus *d;
    beck_reader *r;
    int count = 0;
    memset(s, 0, sizeof *s);
    must(beck_bus_get(b, "d", &d, &err));
    must(beck_reader_open(d, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    for (;;) {
        const beck_event *e;
        beck_error err = {0};
        beck_status status = beck_reader_next(r, 0, &e, &err);
        if (status == BECK_ECORRUPT) {
            hear(s, &err);
            continue;
        }
        if (status)
            break;
        count++;
    }
    beck_reader_close(r);
    return count;
}

/* The directory opens, is clean, and takes events behind those that there were. */
static void assert_usable(const struct place *p, int left)
{
    struct said s;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(verify(p, &s), BECK_OK);
        beck *b = try_open(p, &s);
        assert_non_null(b);
        if (s.count)
            fail_msg("%s", s.text);
        assert_int_equal(read_all(b, &s), left + i);
        if (s.count)
            fail_msg("%s", s.text);
        beck_bus *d;
        beck_published out;
        beck_event e = event_of("t.x", "s", "new");
        must(beck_bus_get(b, "d", &d, &err));
        must(beck_publish_many(d, &e, 1, NULL, &out, &err));
        assert_int_equal(out.position.offset, 248 + i);
        beck_close(b);
    }
}

static void a_missing_segment_is_a_fault_and_readers_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *base, *words;
    } cases[] = {{"00000000000000000000", "events 0 to "},
                 {"00000000000000000062", "events 62 to 123 "},
                 {"00000000000000000124", "events 124 to 185 "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct place p;
        struct said s;
        place_make(&p);
        make_data(&p);
        shell("rm %s/d-0/%s.*", p.data, cases[i].base);
        assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
        assert_said(&s, cases[i].words);
        for (int again = 0; again < 2; again++) {
            beck *b = try_open(&p, &s);
            assert_non_null(b);
            assert_int_equal(s.count, i == 0);
            int left = read_all(b, &s);
            assert_int_equal(s.count, 1);
            assert_said(&s, cases[i].words);
            assert_int_equal(left, 186);
            beck_close(b);
            assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
        }
        place_remove(&p);
    }
}

static void what_retention_took_is_not_missing(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    place_make(&p);
    make_data(&p);
    beck *b = try_open(&p, &s);
    beck_bus *d;
    must(beck_bus_get(b, "d", &d, &err));
    must(partition_truncate_before(bus_partition(d, 0), 130, &err));
    must(upkeep_maintain(b, &err));
    /* As if the machine had stopped there. */
    beck_abandon(b);
    assert_int_equal(verify(&p, &s), BECK_OK);
    b = try_open(&p, &s);
    assert_int_equal(s.count, 0);
    assert_int_equal(read_all(b, &s), 248 - 130);
    assert_int_equal(s.count, 0);
    beck_close(b);
    /* Without the file nobody knows where it began. */
    shell("rm %s/log-start-offset-checkpoint", p.data);
    assert_int_equal(verify(&p, &s), BECK_OK);
    b = try_open(&p, &s);
    assert_int_equal(s.count, 0);
    beck_close(b);
    place_remove(&p);
}

static void what_an_older_version_took_before_it_said_so_is_not_missing(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    place_make(&p);
    make_data(&p);
    shell("printf '0\\n1\\nd 0 31\\n' > %s/log-start-offset-checkpoint", p.data);
    shell("rm %s/d-0/00000000000000000000.* %s/d-0/00000000000000000062.*", p.data, p.data);
    assert_int_equal(verify(&p, &s), BECK_OK);
    for (int i = 0; i < 2; i++) {
        beck *b = try_open(&p, &s);
        assert_non_null(b);
        assert_int_equal(read_all(b, &s), 124);
        if (s.count)
            fail_msg("%s", s.text);
        beck_close(b);
        assert_int_equal(verify(&p, &s), BECK_OK);
    }
    /* From then on it is known where it begins. */
    shell("rm %s/d-0/00000000000000000124.*", p.data);
    assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
    place_remove(&p);
}

static void what_compaction_took_may_be_kept_from_now_on(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    place_make(&p);
    make_data(&p);
    beck *b = try_open(&p, &s);
    beck_bus *d;
    beck_bus_options o = small;
    must(beck_bus_get(b, "d", &d, &err));
    o.compact = true;
    must(beck_bus_alter(d, &o, &err));
    must(beck_bus_alter(d, &small, &err));
    beck_close(b);
    shell("rm %s/d-0/00000000000000000062.*", p.data);
    assert_int_equal(verify(&p, &s), BECK_OK);
    b = try_open(&p, &s);
    assert_int_equal(read_all(b, &s), 186);
    assert_int_equal(s.count, 0);
    beck_close(b);
    place_remove(&p);
}

static void what_cannot_be_read_is_given_up_when_asked(void **state)
{
    (void)state;
    static const struct {
        const char *harm, *given_up;
        int left;
    } cases[] = {
        {"rm %s/d-0/00000000000000000000.*", "gave up events 0 to 61", 186},
        {"rm %s/d-0/00000000000000000062.*", "gave up events 62 to 123", 186},
        {"rm %s/d-0/00000000000000000186.*", "gave up events 186 to 247", 186},
        {"truncate -s 1000 %s/d-0/00000000000000000062.log", "gave up events 62 to 123", 186},
        {"truncate -s 1000 %s/d-0/00000000000000000186.log", "gave up events 186 to 247", 186},
        {"truncate -s 0 %s/d-0/00000000000000000186.log", "gave up events 186 to 247", 186},
        {"printf XXXX | dd of=%s/d-0/00000000000000000062.log bs=1 seek=1000 conv=notrunc "
         "status=none",
         "gave up events 62 to 92", 217},
        {"printf XXXX | dd of=%s/d-0/00000000000000000186.log bs=1 seek=1000 conv=notrunc "
         "status=none",
         "gave up events 186 to 216", 217},
        {"rm %s/d-0/*", "gave up events 0 to 247", 0},
        {"rm -r %s/d-0", "gave up events 0 to 247", 0},
        {"echo garbage > %s/log-start-offset-checkpoint", "removed", 248},
        {"echo garbage > %s/recovery-point-offset-checkpoint", "removed", 248},
        {"echo garbage > %s/cleaner-offset-checkpoint", "removed", 248},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct place p;
        struct said s;
        place_make(&p);
        make_data(&p);
        shell(cases[i].harm, p.data);
        assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
        assert_said(&s, "verify --repair");
        beck *b = try_open(&p, &s);
        beck_close(b);
        struct said done = {0};
        assert_int_equal(beck_repair(p.data, hear, &done, NULL, NULL), BECK_OK);
        assert_said(&done, cases[i].given_up);
        assert_int_equal(verify(&p, &s), BECK_OK);
        b = try_open(&p, &s);
        assert_non_null(b);
        assert_int_equal(s.count, 0);
        int left = read_all(b, &s);
        assert_int_equal(s.count, 0);
        beck_close(b);
        assert_int_equal(left, cases[i].left);
        assert_usable(&p, left);
        place_remove(&p);
    }
}

static void what_was_being_written_stays_behind_what_is_given_up(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    place_make(&p);
    make_data(&p);
    shell("cd %s/d-0 && printf XXXX | dd of=00000000000000000186.log bs=1 seek=1000 conv=notrunc "
          "status=none && printf '%%0300d' 7 >> 00000000000000000186.log",
          p.data);
    assert_int_equal(beck_repair(p.data, NULL, NULL, NULL, NULL), BECK_OK);
    shell("test \"$(tail -c 300 %s/d-0/00000000000000000186.log)\" = \"$(printf '%%0300d' 7)\"",
          p.data);
    beck *b = try_open(&p, &s);
    assert_non_null(b);
    assert_int_equal(read_all(b, &s), 217);
    assert_int_equal(s.count, 0);
    beck_close(b);
    assert_usable(&p, 217);
    place_remove(&p);
}

/* ---- queues ---- */

static int take_all(beck *b, int *other)
{
    beck_consumer *c;
    beck_delivery d[64];
    size_t n;
    int count = 0;
    *other = 0;
    must(beck_consumer_open(b, "q", 64, &c, &err));
    while (!beck_take(c, d, 64, 0, &n, NULL))
        for (size_t i = 0; i < n; i++) {
            *other += !is(d[i].event->type, "t.x");
            count++;
            must(beck_settle(c, &d[i].tag, 1, &err));
        }
    beck_consumer_close(c);
    return count;
}

static void what_a_queue_cannot_read_becomes_dead_letters_and_is_had_again(void **state)
{
    (void)state;
    static const struct {
        const char *harm;
        int lost;
    } cases[] = {{"printf XXXX | dd of=%s/d-0/00000000000000000062.log bs=1 seek=1000 conv=notrunc "
                  "status=none",
                  31},
                 {"rm %s/d-0/00000000000000000062.*", 62}};
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        struct said s;
        int other;
        place_make(&p);
        make_data(&p);
        beck *b = open_place(&p);
        must(beck_queue_create(b, "q", NULL, &err));
        must(beck_queue_bind(b, "q", &(beck_binding){.bus = "d", .from.kind = BECK_FROM_EARLIEST},
                             &err));
        beck_close(b);
        shell("cp -r %s/d-0 %s/kept", p.data, p.dir);
        shell(cases[i].harm, p.data);
        b = try_open(&p, &s);
        memset(&s, 0, sizeof s);
        assert_int_equal(take_all(b, &other), 248 - cases[i].lost);
        assert_int_equal(s.count, 1);
        assert_said(&s, "dead letters");
        beck_queue_info info;
        must(beck_queue_info_get(b, "q", &info, &err));
        assert_int_equal(info.dead, cases[i].lost);
        assert_int_equal(info.ready + info.in_flight, 0);
        beck_close(b);
        shell("rm -r %s/d-0 && cp -r %s/kept %s/d-0", p.data, p.dir, p.data);
        b = try_open(&p, &s);
        int64_t redriven;
        must(beck_dead_redrive(b, "q", -1, &redriven, &err));
        assert_int_equal(redriven, cases[i].lost);
        assert_int_equal(take_all(b, &other), cases[i].lost);
        assert_int_equal(other, 0);
        must(beck_queue_info_get(b, "q", &info, &err));
        assert_int_equal(info.dead, 0);
        beck_close(b);
        place_remove(&p);
    }
}

static void what_the_checkpoints_know_of_the_librarys_own_is_looked_for(void **state)
{
    (void)state;
    static const char *const names[] = {"__topology", "__queue_state"};
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        struct said s;
        place_make(&p);
        make_data(&p);
        beck *b = open_place(&p);
        must(beck_queue_create(b, "q", NULL, &err));
        must(beck_queue_bind(b, "q", &(beck_binding){.bus = "d"}, &err));
        beck_close(b);
        shell("rm -r %s/%s-0", p.data, names[i]);
        assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
        assert_said(&s, names[i]);
        b = try_open(&p, &s);
        assert_int_equal(b != NULL, i == 1);
        beck_close(b);
        assert_int_equal(beck_repair(p.data, hear, &s, NULL, NULL), BECK_OK);
        b = try_open(&p, &s);
        assert_non_null(b);
        beck_close(b);
        assert_int_equal(verify(&p, &s), BECK_OK);
        place_remove(&p);
    }
}

/* ---- damage of beck's own buses ---- */

static void publish_own(beck *b, const char *name, int n)
{
    static const beck_bus_options o = {.partitions = 1};
    beck_bus *bus;
    char subject[32];
    beck_event e = event_of("t.x", "s", "{}");
    snprintf(subject, sizeof subject, "s%d", n);
    e.subject = beck_str(subject);
    must(handle_own_bus(b, name, &o, &bus, &err));
    must(bus_publish(bus, &e, 1, &(beck_publish_options){.no_context = true}, NULL, &err));
}

static void publish_to_all_own(beck *b, int n)
{
    for (const struct own_bus *own = own_buses; own->name; own++)
        if (!own->unlisted)
            publish_own(b, own->name, n);
}

/* The bus `d`, a queue with dead letters, and something in all of beck's own. */
static void make_own_data(const struct place *p)
{
    make_data(p);
    beck *b = open_place(p);
    must(beck_queue_create(b, "q", NULL, &err));
    must(beck_queue_bind(b, "q", &(beck_binding){.bus = "d", .from.kind = BECK_FROM_EARLIEST},
                         &err));
    for (int n = 0; n < 9; n++) {
        beck_consumer *c;
        beck_delivery d;
        size_t count;
        must(beck_consumer_open(b, "q", 1, &c, &err));
        must(beck_take(c, &d, 1, 0, &count, &err));
        must(beck_reject(c, d.tag, "no", &err));
        beck_consumer_close(c);
        publish_to_all_own(b, n);
    }
    beck_close(b);
}

#define ALL "%s/%s-0/00000000000000000000.log"
static const char *const harms[] = {
    "rm " ALL,
    "truncate -s 0 " ALL,
    "truncate -s 40 " ALL,
    "truncate -s -1 " ALL,
    "printf X | dd of=" ALL " bs=1 seek=70 conv=notrunc status=none",
    "f=" ALL "; printf X | dd of=$f bs=1 seek=$(($(stat -c %%s $f) / 2)) conv=notrunc status=none",
    "head -c 5000 /usr/bin/env > " ALL,
};

static void repaired(const struct place *p, const char *bus, const char *meaning)
{
    struct said s = {0}, done = {0};
    if (beck_repair(p->data, hear, &done, NULL, NULL))
        fail_msg("%s: %s", bus, done.text);
    if (meaning)
        assert_said(&done, meaning);
    if (verify(p, &s))
        fail_msg("%s: %s", bus, s.text);
    beck *b = try_open(p, &s);
    assert_non_null(b);
    if (s.count)
        fail_msg("%s: %s", bus, s.text);
    assert_int_equal(read_all(b, &s), 248);
    beck_queue_info info;
    if (beck_queue_info_get(b, "q", &info, NULL) == BECK_OK) {
        assert_false(info.damaged);
        assert_true(info.ready + info.dead >= 248 || strcmp(bus, "__dead_letters") == 0);
        must(beck_queue_purge(b, "q", NULL, &err));
    } else {
        assert_string_equal(bus, "__topology");
    }
    publish_to_all_own(b, 99);
    beck_close(b);
    assert_int_equal(verify(p, &s), BECK_OK);
}

static void try_harm(const struct place *p, const struct own_bus *own, const char *harm)
{
    struct said s;
    bool opens = !(own->needs & OWN_FOR_DIRECTORY); /* also while it is damaged */
    shell("cp -r %s/whole %s", p->dir, p->data);
    shell(harm, p->data, own->name);
    assert_int_equal(verify(p, &s), BECK_ECORRUPT);
    assert_said(&s, own->name);
    assert_said(&s, "verify --repair");
    beck *b = try_open(p, &s);
    assert_int_equal(b != NULL, opens);
    if (b) {
        assert_said(&s, own->name);
        assert_said(&s, "verify --repair");
        assert_int_equal(read_all(b, &s), 248);
        assert_int_equal(s.count, 0);
        beck_close(b);
    }
    repaired(p, own->name, own->lost);
    shell("rm -r %s", p->data);
}

static void damage_of_an_own_bus_is_said_and_one_repair_mends_it(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    make_own_data(&p);
    shell("mv %s %s/whole", p.data, p.dir);
    for (size_t i = 0; i < sizeof harms / sizeof *harms; i++)
        for (const struct own_bus *own = own_buses; own->name; own++)
            try_harm(&p, own, harms[i]);
    place_remove(&p);
}

/* What __topology had of buses is made good from their files; of queues their names are said. */
static void buses_whose_records_are_given_up_are_known_again(void **state)
{
    (void)state;
    struct place p;
    struct said s, done = {0};
    beck_bus *bus;
    beck_bus_info info;
    place_make(&p);
    make_own_data(&p);
    beck *b = open_place(&p);
    bus = make_bus(b, "wide", &(beck_bus_options){.partitions = 5});
    publish(bus, "t.x", "s", "kept");
    uint8_t id[16];
    memcpy(id, bus_id(bus), 16);
    beck_close(b);
    shell("head -c 9000 /usr/bin/env > %s/__topology-0/00000000000000000000.log", p.data);
    assert_int_equal(beck_repair(p.data, hear, &done, NULL, NULL), BECK_OK);
    assert_said(&done, "bus \"wide\" is known again, with 5 partitions");
    assert_said(&done, "queue \"q\" is not known any more");
    b = try_open(&p, &s);
    assert_non_null(b);
    must(beck_bus_get(b, "wide", &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.options.partitions, 5);
    assert_int_equal(info.events, 1);
    assert_memory_equal(bus_id(bus), id, 16);
    must(beck_bus_get(b, "__users", &bus, &err));
    assert_true(bus->options.compact);
    beck_close(b);
    place_remove(&p);
}

struct dying {
    int left;
};

static void die_after(void *ctx, const beck_error *what)
{
    (void)what;
    if (--((struct dying *)ctx)->left < 0)
        _exit(0);
}

static void a_repair_that_is_killed_anywhere_is_gone_on_with_by_the_next(void **state)
{
    (void)state;
    static const char *const buses[] = {"__topology", "__queue_state", "__users"};
    struct place p;
    place_make(&p);
    make_own_data(&p);
    shell("mv %s %s/whole", p.data, p.dir);
    for (int i = 0; i < 3; i++)
        for (int said = 0, died = 1; died; said++) {
            int status;
            shell("cp -r %s/whole %s", p.dir, p.data);
            shell(harms[6], p.data, buses[i]);
            pid_t child = fork();
            if (child == 0)
                _exit(beck_repair(p.data, die_after, &(struct dying){said}, NULL, NULL) ? 2 : 1);
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            died = WEXITSTATUS(status) == 0;
            repaired(&p, buses[i], NULL);
            shell("ls %s/%s-0/*.log.damaged-* >/dev/null", p.data, buses[i]);
            shell("rm -r %s", p.data);
        }
    place_remove(&p);
}

static void a_directory_that_no_topology_knows_is_remarked(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    place_make(&p);
    make_data(&p);
    shell("cp -r %s/d-0 %s/orders-0", p.data, p.data);
    assert_int_equal(verify(&p, &s), BECK_OK);
    assert_said(&s, "orders-0\" belongs to no bus");
    place_remove(&p);
}

/* ---- buses of versions that did not say whether offsets may be missing ---- */

/* As such a version wrote the record. */
static void make_older(const struct place *p)
{
    beck *b = open_place(p);
    beck_bus *d;
    beck_event e = {.type = beck_str("__topology"), .subject = beck_str("bus/d")};
    char json[256];
    must(beck_bus_get(b, "d", &d, &err));
    const uint8_t *id = bus_id(d);
    snprintf(json, sizeof json, "{\"partitions\":1,\"segment_bytes\":4096,\"id\":[%u,%u,%u,%u]}",
             get_u32(id), get_u32(id + 4), get_u32(id + 8), get_u32(id + 12));
    e.data = beck_str(json);
    must(bus_publish(b->topology, &e, 1, &(beck_publish_options){.no_context = true}, NULL, &err));
    beck_close(b);
}

static void an_older_bus_that_is_found_whole_is_checked_from_then_on(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    beck_bus *d;
    place_make(&p);
    make_data(&p);
    make_older(&p);
    /* Until it was looked at nobody can tell. */
    shell("mkdir %s/away && mv %s/d-0/00000000000000000062.* %s/away", p.dir, p.data, p.dir);
    assert_int_equal(verify(&p, &s), BECK_OK);
    shell("mv %s/away/* %s/d-0", p.dir, p.data);
    beck *b = open_place(&p);
    must(beck_bus_get(b, "d", &d, &err));
    publish(d, "t.x", "s", "new");
    int64_t written = partition_next(bus_partition(b->topology, 0));
    for (int i = 0; i < 3; i++)
        must(upkeep_maintain(b, &err));
    /* Once. */
    assert_int_equal(partition_next(bus_partition(b->topology, 0)), written + 1);
    beck_close(b);
    shell("rm %s/d-0/00000000000000000062.*", p.data);
    assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
    assert_said(&s, "events 62 to 123 ");
    b = try_open(&p, &s);
    assert_int_equal(read_all(b, &s), 187);
    assert_int_equal(s.count, 1);
    assert_said(&s, "events 62 to 123 ");
    beck_close(b);
    place_remove(&p);
}

static void an_older_bus_with_gaps_stays_as_it_is(void **state)
{
    (void)state;
    static const char *const gone[] = {"00000000000000000000", "00000000000000000062",
                                       "00000000000000000124"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        struct place p;
        struct said s;
        place_make(&p);
        make_data(&p);
        make_older(&p);
        shell("rm %s/d-0/%s.*", p.data, gone[i]);
        for (int again = 0; again < 2; again++) {
            beck *b = open_place(&p);
            must(upkeep_maintain(b, &err));
            /* Nor is it forgotten that nobody knows. */
            if (again == 0) {
                beck_bus *d;
                beck_bus_options o = small;
                o.retention_ms = INT64_C(1) << 50;
                must(beck_bus_get(b, "d", &d, &err));
                must(beck_bus_alter(d, &o, &err));
            }
            assert_int_equal(read_all(b, &s), 186);
            assert_int_equal(s.count, 0);
            beck_close(b);
            assert_int_equal(verify(&p, &s), BECK_OK);
        }
        place_remove(&p);
    }
}

static void an_older_bus_that_retention_has_cut_can_be_found_whole(void **state)
{
    (void)state;
    struct place p;
    struct said s;
    beck_bus *d;
    place_make(&p);
    make_data(&p);
    make_older(&p);
    beck *b = open_place(&p);
    must(beck_bus_get(b, "d", &d, &err));
    must(partition_truncate_before(bus_partition(d, 0), 130, &err));
    must(upkeep_maintain(b, &err));
    beck_close(b);
    b = try_open(&p, &s);
    assert_int_equal(s.count, 0);
    assert_int_equal(read_all(b, &s), 248 - 130);
    beck_close(b);
    shell("rm %s/d-0/00000000000000000124.*", p.data);
    assert_int_equal(verify(&p, &s), BECK_ECORRUPT);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bus_is_not_made_over_events_that_no_topology_knows),
        cmocka_unit_test(a_bus_is_made_over_what_the_making_of_one_left),
        cmocka_unit_test(a_missing_segment_is_a_fault_and_readers_are_told),
        cmocka_unit_test(what_retention_took_is_not_missing),
        cmocka_unit_test(what_an_older_version_took_before_it_said_so_is_not_missing),
        cmocka_unit_test(what_compaction_took_may_be_kept_from_now_on),
        cmocka_unit_test(what_cannot_be_read_is_given_up_when_asked),
        cmocka_unit_test(what_was_being_written_stays_behind_what_is_given_up),
        cmocka_unit_test(what_a_queue_cannot_read_becomes_dead_letters_and_is_had_again),
        cmocka_unit_test(what_the_checkpoints_know_of_the_librarys_own_is_looked_for),
        cmocka_unit_test(damage_of_an_own_bus_is_said_and_one_repair_mends_it),
        cmocka_unit_test(buses_whose_records_are_given_up_are_known_again),
        cmocka_unit_test(a_repair_that_is_killed_anywhere_is_gone_on_with_by_the_next),
        cmocka_unit_test(a_directory_that_no_topology_knows_is_remarked),
        cmocka_unit_test(an_older_bus_that_is_found_whole_is_checked_from_then_on),
        cmocka_unit_test(an_older_bus_with_gaps_stays_as_it_is),
        cmocka_unit_test(an_older_bus_that_retention_has_cut_can_be_found_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
