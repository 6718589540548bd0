/* Batches of producers on a bus: see bus_produce. */
#include "world.h"
#include "../log/produced.h"

#include "log/cursor.h"

static beck_status publish_one(beck_bus *bus, const char *type, beck_error *err)
{
    beck_event e = {.type = beck_str(type), .subject = beck_str("s")};
    return bus_publish(bus, &e, 1, NULL, NULL, err);
}

/* ---- helpers ---- */

struct sent {
    struct buf batch;
    struct produce what;
};

static void send_batch(struct sent *s, const beck_event *events, size_t count, beck_codec codec,
                       const struct batch_header *producer)
{
    memset(s, 0, sizeof *s);
    buf_init(&s->batch, 64 << 20);
    assert_int_equal(make_batch(&s->batch, events, count, 1700000000000, codec, producer), 0);
    s->what =
        (struct produce){.batch = s->batch.data, .size = s->batch.len, .level = BECK_LEVEL_WRITTEN};
}

static beck_status produce(struct world *w, struct sent *s)
{
    beck_error err = {0};
    beck_status status = bus_produce(w->bus, 0, &s->what, &err);
    assert_int_equal(status ? err.code : 0, status);
    return status;
}

/* What a listener saw of each event. */
struct seen {
    int count;
    int64_t offset[64], time_ns[64];
    char id[64][64], type[64][32], subject[64][32], data[64][32];
    bool no_data[64];
};

static void copy_text(char *to, beck_bytes from)
{
    snprintf(to, 32, "%.*s", (int)from.len, (const char *)from.data);
}

static int note(void *ctx, const beck_event *e)
{
    struct seen *s = ctx;
    int i = s->count++;
    assert_true(i < 64);
    s->offset[i] = e->position.offset;
    s->time_ns[i] = e->time_ns;
    snprintf(s->id[i], sizeof s->id[i], "%.*s", (int)e->id.len, (const char *)e->id.data);
    copy_text(s->type[i], e->type);
    copy_text(s->subject[i], e->subject);
    copy_text(s->data[i], e->data);
    s->no_data[i] = e->data.data == NULL;
    return 0;
}

static beck_listener *listen(struct world *w, const char *pattern, struct seen *seen)
{
    beck_listener *l;
    assert_int_equal(
        subscribers_add(w->bus->subscribers, beck_str(pattern), note, seen, NULL, &l, NULL), 0);
    return l;
}

/* ---- */

static void a_batch_is_not_opened_where_nobody_reads_events(void **state)
{
    (void)state;
    struct world w;
    struct sent s;
    struct seen seen = {0};
    beck_event e[2] = {
        {.type = beck_str("t"), .data = beck_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
        {.type = beck_str("t"), .data = beck_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")}};
    world_open(&w, &(beck_bus_options){0});
    send_batch(&s, e, 2, BECK_CODEC_GZIP, NULL);
    /* Whatever is in it. */
    memset(s.batch.data + BATCH_HEADER, 'x', s.batch.len - BATCH_HEADER);
    batch_seal(s.batch.data, s.batch.len);
    assert_int_equal(produce(&w, &s), 0);
    assert_int_equal(s.what.first_offset, 0);
    assert_int_equal(partition_next(bus_partition(w.bus, 0)), 2);
    beck_listener *l = listen(&w, "#", &seen);
    assert_int_equal(produce(&w, &s), BECK_ECORRUPT);
    assert_int_equal(partition_next(bus_partition(w.bus, 0)), 2);
    subscribers_remove(l);
    assert_int_equal(produce(&w, &s), 0);
    assert_int_equal(seen.count, 0);
    s.what.level = 0;
    assert_int_equal(bus_produce(w.bus, 1, &s.what, NULL), BECK_EINVAL);
    buf_release(&s.batch);
    world_close(&w);
}

static void listeners_are_called_with_the_records_of_a_batch_once_it_is_stored(void **state)
{
    (void)state;
    for (int codec = BECK_CODEC_NONE; codec <= BECK_CODEC_ZSTD; codec++) {
        struct world w;
        struct sent s;
        struct seen all = {0}, some = {0};
        char text[200] = {0};
        memset(text, 'k', 30);
        beck_event e[4] = {
            {.type = beck_str("a.b"), .subject = beck_str("s"), .data = beck_str(text)},
            {.type = beck_str("shop"), .data = beck_str(text)},
            {.type = beck_str("a.c"), .subject = beck_str("s"), .id = beck_str("id")},
            {.type = beck_str("a.d"), .data = beck_str(text), .time_ns = 1234000000}};
        world_open(&w, &(beck_bus_options){0});
        assert_int_equal(publish_one(w.bus, "x", NULL), 0);
        listen(&w, "#", &all);
        listen(&w, "a.*", &some);
        send_batch(&s, e, 4, (beck_codec)codec, &(struct batch_header){.producer_id = 7});
        assert_int_equal(produce(&w, &s), 0);
        assert_int_equal(s.what.first_offset, 1);
        assert_int_equal(all.count, 4);
        assert_int_equal(some.count, 3);
        for (int i = 0; i < 4; i++)
            assert_int_equal(all.offset[i], 1 + i);
        assert_string_equal(all.type[1], "shop");
        assert_string_equal(all.id[1], "shop/0/2");
        assert_string_equal(all.id[2], "id");
        assert_string_equal(all.subject[0], "s");
        assert_string_equal(all.data[0], text);
        assert_true(all.no_data[2]);
        assert_true(all.time_ns[3] == 1234000000);
        /* Sent again it is not stored, and nobody hears of it. */
        assert_int_equal(produce(&w, &s), BECK_EDUPLICATE);
        assert_int_equal(s.what.first_offset, 1);
        assert_true(s.what.duplicate);
        assert_int_equal(all.count, 4);
        assert_int_equal(partition_next(bus_partition(w.bus, 0)), 5);
        buf_release(&s.batch);
        world_close(&w);
    }
}

static void what_is_stored_has_the_time_of_the_server_where_that_is_asked_for(void **state)
{
    (void)state;
    struct world w;
    struct sent s;
    struct seen seen = {0};
    beck_event e[2] = {{.type = beck_str("t"), .data = beck_str("1"), .time_ns = 5000000},
                       {.type = beck_str("t"), .data = beck_str("2"), .time_ns = 9000000}};
    world_open(&w, &(beck_bus_options){0});
    listen(&w, "#", &seen);
    send_batch(&s, e, 2, BECK_CODEC_NONE, NULL);
    s.what.append_time = true;
    int64_t before = clock_wall_ms(w.env.clock);
    assert_int_equal(produce(&w, &s), 0);
    assert_true(s.what.append_time_ms >= before);
    assert_int_equal(seen.count, 2);
    assert_true(seen.time_ns[0] == s.what.append_time_ms * 1000000 &&
                seen.time_ns[1] == seen.time_ns[0]);
    assert_true(batch_crc_fits(s.batch.data, s.batch.len));
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(bus_partition(w.bus, 0), &c, NULL), 0);
    assert_int_equal(cursor_read(c, 1, false, &v, NULL, NULL), 0);
    assert_true(v->timestamp_ms == s.what.append_time_ms);
    cursor_close(c);
    buf_release(&s.batch);
    world_close(&w);
}

static void routes_get_the_records_that_match(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct sent s;
        world_open(
            &w, &(beck_bus_options){.storage = memory ? BECK_STORAGE_MEMORY : BECK_STORAGE_DISK});
        struct route *all = route_new(100), *some = route_new(100);
        assert_int_equal(bus_add_route(w.bus, beck_str("#"), all, NULL, NULL, NULL), 0);
        assert_int_equal(bus_add_route(w.bus, beck_str("a.*"), some, NULL, NULL, NULL), 0);
        beck_event e[3] = {{.type = beck_str("a.b"), .data = beck_str("1")},
                           {.type = beck_str("b.c"), .data = beck_str("22")},
                           {.type = beck_str("a.c"), .data = beck_str("333")}};
        send_batch(&s, e, 3, BECK_CODEC_LZ4, &(struct batch_header){.producer_id = 3});
        assert_int_equal(produce(&w, &s), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(all->got[i], 1);
            assert_int_equal(some->got[i], i != 1);
        }
        assert_int_equal(some->bytes, 4);
        /* A duplicate gives back what it was admitted. */
        assert_int_equal(produce(&w, &s), BECK_EDUPLICATE);
        assert_int_equal(all->returned, 3);
        assert_int_equal(some->returned, 2);
        /* So does what has no room, and is not stored. */
        some->room = 1;
        s.what.batch[56]++; /* another sequence, which the checksum does not see here */
        assert_int_equal(produce(&w, &s), BECK_ELIMIT);
        assert_int_equal(all->admitted, all->returned + 3);
        assert_int_equal(some->admitted, some->returned + 2);
        assert_int_equal(partition_next(bus_partition(w.bus, 0)), 3);
        buf_release(&s.batch);
        world_close(&w);
        free(all);
        free(some);
    }
}

static beck_status route_by_data(void *ctx, beck_bus *b, const beck_event *e,
                                 struct bus_router_out *out, beck_error *err)
{
    (void)b;
    (void)err;
    return e->data.len > 3 ? bus_router_add(out, as_queue(ctx)) : BECK_OK;
}

static void a_router_addresses_records_and_nobody_else_can(void **state)
{
    (void)state;
    struct world w;
    struct sent s;
    struct route *r = route_new(100);
    uint8_t number[8], forged[8] = {0};
    put_u64(number, number_of(r));
    world_open(&w, &(beck_bus_options){0});
    assert_int_equal(bus_set_router(w.bus, route_by_data, r, NULL), 0);
    struct batch_builder b;
    struct codec codec;
    struct buf scratch;
    beck_bytes batch;
    batch_builder_init(&b, 1 << 20);
    codec_init(&codec);
    buf_init(&scratch, 1 << 20);
    for (int i = 0; i < 4; i++) {
        beck_attribute x = {beck_str("x"), beck_str("y")};
        beck_event e = {.type = beck_str("t"),
                        .subject = beck_str("key"),
                        .data = beck_str(i % 2 ? "for the queue" : "not"),
                        .extensions = &x,
                        .extension_count = 1};
        struct carried c = {.queues = bytes_of(forged, 8), .content = beck_str("kept")};
        assert_int_equal(batch_builder_add_carried(&b, &e, i < 2 ? &c : NULL, beck_str("shop"), 1),
                         0);
    }
    assert_int_equal(
        batch_builder_finish(&b, &codec, BECK_CODEC_ZSTD, 0, NULL, &scratch, &batch, NULL), 0);
    s.what = (struct produce){
        .batch = (uint8_t *)(uintptr_t)batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    assert_int_equal(produce(&w, &s), 0);
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(bus_partition(w.bus, 0), &c, NULL), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cursor_read(c, i, false, &v, NULL, NULL), 0);
        assert_int_equal(v->carried.queues.len, i % 2 ? 8 : 0);
        if (i % 2)
            assert_memory_equal(v->carried.queues.data, number, 8);
        assert_int_equal(v->carried.content.len, i < 2 ? 4 : 0);
        assert_int_equal(v->event.extension_count, 1);
        assert_true(bytes_equal_text(v->event.subject, "key"));
        assert_int_equal(r->got[i], i % 2);
    }
    cursor_close(c);
    assert_int_equal(r->released, 2);
    batch_builder_release(&b);
    codec_release(&codec);
    buf_release(&scratch);
    world_close(&w);
    free(r);
}

static void records_that_are_known_are_left_out_and_the_others_keep_their_offsets(void **state)
{
    (void)state;
    struct world w;
    struct sent s;
    struct seen seen = {0};
    world_open(&w, &(beck_bus_options){.dedup_window_ms = 60000, .codec = BECK_CODEC_NONE});
    listen(&w, "#", &seen);
    struct route *r = route_new(100);
    assert_int_equal(bus_add_route(w.bus, beck_str("#"), r, NULL, NULL, NULL), 0);
    beck_event e[4] = {{.type = beck_str("t"), .id = beck_str("1"), .data = beck_str("a")},
                       {.type = beck_str("t"), .id = beck_str("2"), .data = beck_str("b")},
                       {.type = beck_str("t"), .data = beck_str("c")},
                       {.type = beck_str("t"), .data = beck_str("d")}};
    assert_int_equal(bus_publish(w.bus, &e[1], 1, NULL, NULL, NULL), 0);
    struct batch_header producer = {.producer_id = 9};
    send_batch(&s, e, 4, BECK_CODEC_SNAPPY, &producer);
    assert_int_equal(produce(&w, &s), 0);
    assert_int_equal(s.what.first_offset, 1);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.offset[1], 1);
    assert_int_equal(seen.offset[2], 3);
    assert_int_equal(r->got[2], 0);
    assert_int_equal(r->got[1] + r->got[3] + r->got[4], 3);
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(bus_partition(w.bus, 0), &c, NULL), 0);
    assert_int_equal(cursor_read(c, 2, false, &v, NULL, NULL), 0);
    assert_int_equal(v->offset, 3);
    assert_true(bytes_equal_text(v->event.data, "c"));
    buf_release(&s.batch);
    /* Nothing of it is new: the sequence goes on all the same, in a batch without records. */
    producer.base_sequence = 4;
    send_batch(&s, e, 2, BECK_CODEC_SNAPPY, &producer);
    assert_int_equal(produce(&w, &s), 0);
    assert_int_equal(s.what.first_offset, 5);
    assert_int_equal(seen.count, 4);
    buf_release(&s.batch);
    producer.base_sequence = 6;
    send_batch(&s, &e[2], 1, BECK_CODEC_SNAPPY, &producer);
    assert_int_equal(produce(&w, &s), 0);
    assert_int_equal(cursor_read(c, 5, false, &v, NULL, NULL), 0);
    assert_int_equal(v->offset, 7);
    cursor_close(c);
    buf_release(&s.batch);
    assert_int_equal(r->admitted, r->returned + 5);
    world_close(&w);
    free(r);
}

/* ---- threads ---- */

struct producing {
    struct world *w;
    int id, each;
};

static void *produce_many(void *arg)
{
    struct producing *p = arg;
    for (int i = 0; i < p->each; i++) {
        struct sent s;
        beck_event e[2] = {{.type = beck_str("t.a"), .data = beck_str("1")},
                           {.type = beck_str("t.b"), .data = beck_str("2")}};
        struct batch_header producer = {.producer_id = p->id, .base_sequence = i * 2};
        send_batch(&s, e, 2, i % 3 ? BECK_CODEC_NONE : BECK_CODEC_LZ4, &producer);
        assert_int_equal(produce(p->w, &s), 0);
        buf_release(&s.batch);
    }
    return NULL;
}

static void note_end(void *ctx)
{
    struct world *w = *(struct world **)ctx;
    ((int64_t *)ctx)[1] = partition_paused_end(bus_partition(w->bus, 0));
}

static void a_route_gets_exactly_what_is_produced_while_it_stands(void **state)
{
    (void)state;
    enum { THREADS = 3, EACH = 1000, CHANGES = 20 };
    struct world w;
    pthread_t threads[THREADS];
    struct producing p[THREADS];
    struct route *routes[CHANGES];
    int64_t from[CHANGES], to[CHANGES];
    world_open(&w, &(beck_bus_options){0});
    for (int i = 0; i < THREADS; i++) {
        p[i] = (struct producing){&w, i, EACH};
        assert_int_equal(pthread_create(&threads[i], NULL, produce_many, &p[i]), 0);
    }
    for (int i = 0; i < CHANGES; i++) {
        struct {
            struct world *w;
            int64_t end;
        } mark = {&w, -1};
        routes[i] = route_new(OFFSETS);
        assert_int_equal(bus_add_route(w.bus, beck_str("t.*"), routes[i], note_end, &mark, NULL),
                         0);
        from[i] = mark.end;
        sched_yield();
        bus_remove_route(w.bus, beck_str("t.*"), routes[i]);
        bus_pause(w.bus);
        note_end(&mark);
        to[i] = mark.end;
        bus_resume(w.bus);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(partition_next(bus_partition(w.bus, 0)), THREADS * EACH * 2);
    for (int i = 0; i < CHANGES; i++) {
        int64_t count = routes[i]->admitted - routes[i]->returned;
        assert_true(count <= to[i] - from[i]);
        for (int64_t k = 0; k < OFFSETS; k++)
            assert_int_equal(routes[i]->got[k], k >= from[i] && k < from[i] + count);
    }
    world_close(&w);
    for (int i = 0; i < CHANGES; i++)
        free(routes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_not_opened_where_nobody_reads_events),
        cmocka_unit_test(listeners_are_called_with_the_records_of_a_batch_once_it_is_stored),
        cmocka_unit_test(what_is_stored_has_the_time_of_the_server_where_that_is_asked_for),
        cmocka_unit_test(routes_get_the_records_that_match),
        cmocka_unit_test(a_router_addresses_records_and_nobody_else_can),
        cmocka_unit_test(records_that_are_known_are_left_out_and_the_others_keep_their_offsets),
        cmocka_unit_test(a_route_gets_exactly_what_is_produced_while_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
