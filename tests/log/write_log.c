/*
 * Writes a partition directory for Kafka's own tools to look at, and says on standard output what
 * they must find: one line per event, in the words of Kafka's DumpLogSegments.
 *
 * The partition goes through every codec (one per opening), small segments, batches of one and of
 * many, an event larger than a segment, and batches that came compressed from idempotent producers. A second
 * one, "compacted", has been: tombstones and the end of a transaction have a delete horizon.
 * usage: write_log <directory>
 */
#include "base/clock.h"
#include "base/rng.h"
#include "log/committer.h"
#include "log/partition.h"

#include <stdio.h>
#include <stdlib.h>

#define BUS "orders"
#define T0_MS 1700000000000
#define BATCH_EVENTS_MAX 9
#define SEGMENT_BYTES 16384
#define LARGE 40000

struct world {
    struct env env;
    struct partition *partition;
    char dir[512];
    struct rng rng;
    int64_t next_offset;
    int32_t sequences[3]; /* of idempotent producers 100, 101, 102 */
};

static void must(beck_status status, const beck_error *err, const char *what)
{
    if (status == BECK_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, beck_status_name(status), err->text);
    exit(1);
}

static void report(void *ctx, const beck_error *err)
{
    (void)ctx;
    fprintf(stderr, "reported: %s\n", err->text);
    exit(1);
}

/* ---- events ---- */

struct made {
    beck_event event;
    beck_attribute extension;
    char subject[16], id[16];
    char data[LARGE];
    char headers[128]; /* their names as DumpLogSegments lists them */
};

static void add_name(struct made *m, const char *name)
{
    if (m->headers[0] != '\0')
        strcat(m->headers, ",");
    strcat(m->headers, name);
}

static void make_text(struct made *m, struct rng *rng, size_t len)
{
    static const char words[] = "{\"order\": \"\xc3\xa9t\xc3\xa9\", \"amount\": 12345} and so on; ";

    /* Half of the text is noise, so that compressed batches fill segments too. Whole words keep it
     * UTF-8. */
    m->data[0] = '\0';
    for (size_t n = 0; n + sizeof words + 8 < len; n = strlen(m->data)) {
        memcpy(m->data + n, words, sizeof words);
        snprintf(m->data + strlen(m->data), 20, "%08x", (unsigned)rng_next(rng));
    }
}

static void make_optional(struct made *m, struct rng *rng, int64_t number)
{
    beck_event *e = &m->event;

    if (rng_below(rng, 4) == 0) {
        snprintf(m->id, sizeof m->id, "id-%lld", (long long)number);
        e->id = beck_str(m->id);
        add_name(m, "ce_id");
    }
    if (rng_below(rng, 4) == 0) {
        e->datacontenttype = beck_str("text/plain");
        add_name(m, "content-type");
    }
    if (rng_below(rng, 4) == 0) {
        e->time_ns += 1 + (int64_t)rng_below(rng, 999999);
        add_name(m, "ce_time");
    }
    if (rng_below(rng, 4) == 0) {
        e->expires_at_ms = T0_MS;
        add_name(m, "ce_expirytime");
    }
    if (rng_below(rng, 4) == 0) {
        m->extension = (beck_attribute){beck_str("tenant"), beck_str("acme")};
        if (rng_below(rng, 2))
            m->extension.value = (beck_bytes){NULL, 0};
        e->extensions = &m->extension;
        e->extension_count = 1;
        add_name(m, "ce_tenant");
    }
}

static void make_event(struct made *m, struct rng *rng, int64_t number)
{
    beck_event *e = &m->event;
    size_t len = number == 50 ? LARGE : 64 + (size_t)rng_below(rng, 400);

    memset(e, 0, sizeof *e);
    m->headers[0] = '\0';
    e->type = beck_str(BUS);
    if (rng_below(rng, 2)) {
        e->type = beck_str("order.created");
        add_name(m, "ce_type");
    }
    if (rng_below(rng, 3)) {
        snprintf(m->subject, sizeof m->subject, "ORD-%u", (unsigned)rng_below(rng, 1000));
        e->subject = beck_str(m->subject);
    }
    make_text(m, rng, len);
    if (number == 50 || rng_below(rng, 8))
        e->data = beck_str(rng_below(rng, 8) || number == 50 ? m->data : "");
    /* Time goes forward and sometimes back. */
    e->time_ns = (T0_MS + number * 10 - (int64_t)rng_below(rng, 300)) * 1000000;
    make_optional(m, rng, number);
}

static void say(const struct made *m, int64_t offset, int32_t sequence)
{
    const beck_event *e = &m->event;

    printf(
        "| offset: %lld CreateTime: %lld keySize: %d valueSize: %d sequence: %d headerKeys: [%s]",
        (long long)offset, (long long)(e->time_ns / 1000000),
        e->subject.data == NULL ? -1 : (int)e->subject.len,
        e->data.data == NULL ? -1 : (int)e->data.len, sequence, m->headers);
    if (e->subject.data != NULL)
        printf(" key: %s", (const char *)e->subject.data);
    if (e->data.data != NULL)
        printf(" payload: %s", (const char *)e->data.data);
    printf("\n");
}

/* ---- the partition ---- */

static void open_partition(struct world *w, beck_codec codec)
{
    struct partition_options options = {.bus = {.storage = BECK_STORAGE_DISK,
                                                .partitions = 1,
                                                .codec = codec,
                                                .segment_bytes = SEGMENT_BYTES,
                                                .segment_ms = 7LL * 86400000,
                                                .delete_retention_ms = 86400000,
                                                .event_bytes_max = 1048588}};
    beck_error err = {0};

    must(partition_open(&w->env, w->dir, BUS, 0, &options, w->next_offset, 0, &w->partition, &err),
         &err, "open");
}

static void close_partition(struct world *w)
{
    beck_error err = {0};

    must(partition_close(w->partition, &err), &err, "close");
}

/* One call with `count` events. */
static void append_events(struct world *w, size_t count)
{
    static struct made made[BATCH_EVENTS_MAX];
    const beck_event *list[BATCH_EVENTS_MAX];
    struct append a = {.events = list, .count = count, .level = BECK_LEVEL_WRITTEN};
    beck_error err = {0};

    for (size_t i = 0; i < count; i++) {
        make_event(&made[i], &w->rng, w->next_offset + (int64_t)i);
        list[i] = &made[i].event;
    }
    must(partition_append(w->partition, &a, &err), &err, "append");
    for (size_t i = 0; i < count; i++)
        say(&made[i], a.first_offset + (int64_t)i, -1);
    w->next_offset = a.first_offset + (int64_t)count;
}

/* A batch as a producer sends it. */
static void append_batch(struct world *w, size_t count, beck_codec codec, size_t who)
{
    static struct made made[BATCH_EVENTS_MAX];
    struct batch_header producer = {.producer_id = 100 + (int64_t)who,
                                    .producer_epoch = (int16_t)who,
                                    .base_sequence = w->sequences[who]};
    struct batch_builder b;
    struct codec c;
    struct buf scratch;
    beck_bytes batch;
    beck_error err = {0};
    int64_t first;
    uint8_t *copy;

    batch_builder_init(&b, 1 << 20);
    codec_init(&c);
    buf_init(&scratch, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        make_event(&made[i], &w->rng, w->next_offset + (int64_t)i);
        must(batch_builder_add(&b, &made[i].event, beck_str(BUS), made[i].event.time_ns / 1000000),
             &err, "add");
    }
    must(batch_builder_finish(&b, &c, codec, 0, &producer, &scratch, &batch, &err), &err, "finish");
    copy = malloc(batch.len);
    if (copy == NULL)
        must(BECK_ENOMEM, &err, "copy");
    memcpy(copy, batch.data, batch.len);
    struct produce sent = {.batch = copy, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    must(partition_produce(w->partition, &sent, &err), &err, "produce");
    first = sent.first_offset;
    for (size_t i = 0; i < count; i++)
        say(&made[i], first + (int64_t)i, w->sequences[who] + (int32_t)i);
    w->sequences[who] += (int32_t)count;
    w->next_offset = first + (int64_t)count;
    free(copy);
    batch_builder_release(&b);
    codec_release(&c);
    buf_release(&scratch);
}

static void write_all(struct world *w)
{
    for (unsigned codec = BECK_CODEC_NONE; codec <= BECK_CODEC_ZSTD; codec++) {
        open_partition(w, (beck_codec)codec);
        for (int i = 0; i < 60; i++) {
            size_t count = 1 + (size_t)rng_below(&w->rng, BATCH_EVENTS_MAX);

            if (i % 3 == 2)
                append_batch(w, count, (beck_codec)(i % 5), (size_t)rng_below(&w->rng, 3));
            else
                append_events(w, count);
        }
        close_partition(w);
    }
}

/* ---- the compacted one ---- */

static void write_transaction(struct partition *p, int32_t sequence)
{
    static const char *const keys[] = {"a", "b", "c"};
    struct batch_header producer = {
        .producer_id = 100, .base_sequence = sequence, .attributes = BATCH_TRANSACTIONAL};
    struct transaction_end end = {.producer_id = 100, .commit = true, .level = BECK_LEVEL_WRITTEN};
    struct batch_builder b;
    struct codec c;
    struct buf scratch;
    beck_bytes batch;
    beck_error err = {0};

    batch_builder_init(&b, 1 << 20);
    codec_init(&c);
    buf_init(&scratch, 1 << 20);
    for (int i = 0; i < 3; i++) {
        beck_event e = {.type = beck_str("t"), .subject = beck_str(keys[i])};
        must(batch_builder_add(&b, &e, beck_str("compacted"), T0_MS), &err, "add");
    }
    must(batch_builder_finish(&b, &c, BECK_CODEC_ZSTD, 0, &producer, &scratch, &batch, &err), &err,
         "finish");
    struct produce sent = {
        .batch = (uint8_t *)batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    must(partition_produce(p, &sent, &err), &err, "produce");
    must(partition_end_transaction(p, &end, &err), &err, "end");
    batch_builder_release(&b);
    codec_release(&c);
    buf_release(&scratch);
}

static void write_compacted(struct world *w, const char *directory)
{
    struct partition_options options = {.bus = {.storage = BECK_STORAGE_DISK,
                                                .partitions = 1,
                                                .compact = true,
                                                .segment_bytes = 4096,
                                                .segment_ms = 7LL * 86400000,
                                                .delete_retention_ms = 86400000,
                                                .event_bytes_max = 1048588}};
    char dir[512], filler[3000];
    struct partition *p;
    beck_event e = {.type = beck_str("t")};
    const beck_event *list[] = {&e};
    beck_error err = {0};

    snprintf(dir, sizeof dir, "%s/compacted-0", directory);
    must(partition_open(&w->env, dir, "compacted", 0, &options, 0, 0, &p, &err), &err, "open");
    write_transaction(p, 0);
    write_transaction(p, 3);
    memset(filler, 'x', sizeof filler);
    e.data = bytes_of(filler, sizeof filler);
    for (int i = 0; i < 2; i++) {
        struct append a = {.events = list, .count = 1, .level = BECK_LEVEL_WRITTEN};
        must(partition_append(p, &a, &err), &err, "append");
    }
    must(partition_maintain(p, NULL, &err), &err, "maintain");
    must(partition_close(p, &err), &err, "close");
}

int main(int argc, char **argv)
{
    struct world w = {.env = {.vfs = vfs_posix(), .report = report}};
    beck_error err = {0};

    if (argc != 2) {
        fprintf(stderr, "usage: write_log <directory>\n");
        return 2;
    }
    snprintf(w.dir, sizeof w.dir, "%s/" BUS "-0", argv[1]);
    rng_seed(&w.rng, 20231114);
    w.env.clock = clock_system();
    must(committer_new(0, NULL, &w.env.committer, &err), &err, "committer");
    must(committer_reserve(w.env.committer, 1, &err), &err, "committer");
    write_all(&w);
    write_compacted(&w, argv[1]);
    committer_free(w.env.committer);
    return 0;
}
