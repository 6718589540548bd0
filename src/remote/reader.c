/*
 * Readers of a bus of a server: pages of events, each of which says where the next one begins (a
 * cursor: the next offset of every partition).
 *
 * Events come in the order of the server's own reader, which merges partitions by time. Behind a
 * page that was not empty the next one is asked for at once, so that the server is at work on it
 * while this one is used. A page holds as many events as came to about a megabyte the last time.
 *
 * A bounded reader ends where each partition ended when it was opened: the ends are asked for then,
 * and the first page, so that what is wrong is said by remote_reader_open.
 */
#include "event/cloudevents.h"
#include "remote/remote_impl.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_FIRST 64
#define PAGE_MAX 4096
#define PAGE_BYTES (1u << 20)
#define WAIT_MS 30000
#define BEGIN_AGAIN 2 /* connections that are tried for one page */

struct remote_reader {
    beck_bus *bus;
    struct connection *connection;
    struct buf filters; /* "&type=...": of every page */
    char *cursor;       /* where the next page begins; NULL: `from` */
    beck_from from;
    bool follow;
    int64_t until_ms;
    int64_t *ends; /* by partition; NULL when following */
    uint32_t end_count;
    int64_t page;      /* events to ask for */
    bool asked;        /* a page is on its way */
    bool waits;        /* that one comes only once there is something */
    bool at_end;       /* the last page brought nothing, and the cursor stands where it stood */
    bool broken;       /* damage that cannot be read past */
    beck_error damage; /* met when it was opened: for the first call */
    struct response response;
    beck_document *document; /* of the page being given */
    size_t next;
};

/* ---- asking ---- */

static beck_status ask(struct remote_reader *r, bool wait, bool *untouched, beck_error *err)
{
    struct target t;
    target_of_bus(&t, r->bus->name, "/events");
    if (r->cursor)
        target_param(&t, "cursor", beck_str(r->cursor));
    else
        target_from(&t, "from", &r->from);
    target_add(&t, (const char *)r->filters.data);
    target_number(&t, "limit", r->page);
    if (wait)
        target_number(&t, "wait", WAIT_MS);
    struct request q = {.method = "GET",
                        .target = target_text(&t, err),
                        .accept = "application/cloudevents-batch+json"};
    beck_status status =
        q.target ? connection_send(r->connection, &q, untouched, err) : BECK_ENOMEM;
    target_release(&t);
    r->asked = !status;
    r->waits = wait;
    return status;
}

static void hang_up(struct remote_reader *r)
{
    connection_close(r->connection);
    r->connection = NULL;
    r->asked = false;
}

/* Reading changes nothing, so a page whose connection broke is asked for once more. */
static beck_status ask_for_page(struct remote_reader *r, bool wait, beck_error *err)
{
    beck_status status = BECK_OK;
    for (int i = 0; i < BEGIN_AGAIN; i++) {
        if (r->connection && !connection_is_alive(r->connection))
            hang_up(r);
        if (!r->connection)
            status = client_connect(r->bus->remote->client, &r->connection, err);
        if (status)
            return status;
        bool untouched;
        status = ask(r, wait, &untouched, err);
        if (!status)
            return BECK_OK;
        hang_up(r);
    }
    return status;
}

/* ---- receiving ---- */

static beck_status take_cursor(struct remote_reader *r, beck_error *err)
{
    const struct buf *said = &r->response.cursor;
    if (said->len == 0)
        return BECK_OK;
    r->at_end = r->cursor && strcmp(r->cursor, (const char *)said->data) == 0;
    char *copy = strdup((const char *)said->data);
    if (!copy)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    free(r->cursor);
    r->cursor = copy;
    return BECK_OK;
}

/* A server that refuses to read on says where the damage ends. */
static beck_status take_refusal(struct remote_reader *r, beck_error *err)
{
    static const char no_bus[] = "there is no bus ";
    beck_error why;
    beck_status status = client_check(&r->response, &why);
    if (status == BECK_ECORRUPT) {
        r->broken = r->response.cursor.len == 0;
        if (take_cursor(r, NULL) || r->at_end)
            r->broken = true;
    }
    /* There may also be no such partition. */
    if (status == BECK_ENOENT && strncmp(why.text, no_bus, sizeof no_bus - 1) == 0)
        return remote_bus_gone(r->bus, status, err);
    return error_set(err, status, "%s", why.text);
}

/* The next page has about as many bytes as it should. */
static void choose_page(struct remote_reader *r, size_t count)
{
    size_t bytes = r->response.body.len / (count ? count : 1) + 1;
    int64_t page = (int64_t)(PAGE_BYTES / bytes);
    r->page = page < 1 ? 1 : page > PAGE_MAX ? PAGE_MAX : page;
}

/* Waits for the page that was asked for. BECK_ETIMEDOUT leaves it to be received later. */
static beck_status receive_page(struct remote_reader *r, int64_t until_ns, beck_error *err)
{
    beck_status status = connection_receive(r->connection, &r->response, -1, until_ns, err);
    if (status == BECK_ETIMEDOUT)
        return status;
    r->asked = false;
    if (status || r->response.last)
        hang_up(r);
    if (status == BECK_ELIMIT && r->page > 1) { /* smaller pieces, then */
        r->page = r->page / 4 + 1;
        return ask_for_page(r, false, err);
    }
    if (status)
        return status;
    if (r->response.status / 100 != 2)
        return take_refusal(r, err);
    beck_document_free(r->document);
    r->document = NULL;
    r->next = 0;
    status = take_cursor(r, err);
    if (!status && r->response.body.len > 0)
        status = cloudevents_parse_exact(buf_bytes(&r->response.body), &r->document, err);
    size_t count = r->document ? beck_document_count(r->document) : 0;
    r->at_end = r->at_end && count == 0;
    if (count > 0)
        choose_page(r, count);
    return status;
}

/* ---- ends ---- */

/* Whether the cursor has passed the end of every partition that it names. */
static bool is_past_ends(const struct remote_reader *r)
{
    const char *p = r->cursor;
    if (!r->ends || !p)
        return false;
    while (*p) {
        char *rest;
        unsigned long partition = strtoul(p, &rest, 10);
        if (*rest != '-')
            return false;
        long long offset = strtoll(rest + 1, &rest, 10);
        if (partition < r->end_count && offset < r->ends[partition])
            return false;
        p = *rest == '.' ? rest + 1 : rest;
        if (*p && *rest != '.')
            return false;
    }
    return true;
}

static beck_status find_ends(struct remote_reader *r, beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_partitions all;
    target_of_bus(&t, r->bus->name, "/partitions");
    beck_status status =
        remote_ask(r->bus->remote, "GET", &t, NULL, NULL, &shape_partitions, &all, &g, err);
    if (!status) {
        r->ends = calloc(all.count + 1, sizeof *r->ends);
        r->end_count = r->ends ? (uint32_t)all.count : 0;
        if (!r->ends)
            status = error_set(err, BECK_ENOMEM, "no memory for a reader");
    }
    for (uint32_t i = 0; i < r->end_count; i++)
        r->ends[i] = all.list[i].info.written_offset;
    reply_release(&g);
    return remote_bus_gone(r->bus, status, err);
}

/* ---- opening and closing ---- */

static beck_status make_filters(struct remote_reader *r, const beck_read_options *o,
                                beck_error *err)
{
    struct target t;
    target_begin(&t, "");
    t.mark = '&';
    target_param(&t, "positions", beck_str("true"));
    if (o->partition_plus_1)
        target_number(&t, "partition", (int64_t)o->partition_plus_1 - 1);
    if (o->pattern)
        target_param(&t, "type", beck_str(o->pattern));
    if (o->subject.data)
        target_param(&t, "subject", o->subject);
    if (o->until_time_ms > 0) {
        beck_from until = {.kind = BECK_FROM_TIME, .time_ms = o->until_time_ms};
        target_from(&t, "until", &until);
    }
    if (!target_text(&t, err)) {
        target_release(&t);
        return BECK_ENOMEM;
    }
    r->filters = t.text;
    return BECK_OK;
}

beck_status remote_reader_open(beck_bus *bus, const beck_read_options *options,
                               struct remote_reader **out, beck_error *err)
{
    struct remote_reader *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    r->bus = bus;
    r->from = options->from;
    r->follow = options->follow;
    r->until_ms = options->until_time_ms;
    r->page = PAGE_FIRST;
    response_init(&r->response, CLIENT_ANSWER_MAX);
    error_clear(&r->damage);
    beck_status status = make_filters(r, options, err);
    if (!status && !r->follow)
        status = find_ends(r, err);
    if (!status)
        status = ask_for_page(r, false, err);
    beck_error why;
    while (!status && r->asked)
        status = receive_page(r, INT64_MAX, &why) ? error_set(err, why.code, "%s", why.text) : 0;
    if (status == BECK_ECORRUPT) {
        r->damage = why;
        status = BECK_OK;
    }
    if (status) {
        remote_reader_close(r);
        return status;
    }
    *out = r;
    return BECK_OK;
}

void remote_reader_close(struct remote_reader *r)
{
    if (!r)
        return;
    connection_close(r->connection);
    beck_document_free(r->document);
    response_release(&r->response);
    buf_release(&r->filters);
    free(r->cursor);
    free(r->ends);
    free(r);
}

/* ---- giving ---- */

static bool time_is_over(const struct remote_reader *r)
{
    return r->until_ms > 0 && clock_wall_ms(clock_system()) >= r->until_ms;
}

/* The next event of the page; NULL: it has given all. */
static const beck_event *next_of_page(struct remote_reader *r)
{
    while (r->document && r->next < beck_document_count(r->document)) {
        const beck_event *e = beck_document_event(r->document, r->next++);
        bool late = r->ends && e->position.partition < r->end_count &&
                    e->position.offset >= r->ends[e->position.partition];
        if (!late)
            return e;
    }
    return NULL;
}

static bool has_ended(const struct remote_reader *r)
{
    if (r->follow)
        return r->broken || (r->at_end && time_is_over(r));
    return r->broken || r->at_end || is_past_ends(r);
}

/* Whoever reads until a time looks at the clock when that has come. */
static int64_t next_look_ns(const struct remote_reader *r, int64_t until_ns)
{
    if (!r->follow || r->until_ms <= 0)
        return until_ns;
    int64_t left_ms = r->until_ms - clock_wall_ms(clock_system());
    int64_t look_ns = clock_mono_ns(clock_system());
    if (left_ms > (INT64_MAX - look_ns) / 1000000)
        return until_ns;
    look_ns += (left_ms < 1 ? 1 : left_ms) * 1000000;
    return look_ns < until_ns ? look_ns : until_ns;
}

beck_status remote_reader_next(struct remote_reader *r, int64_t timeout_ms, const beck_event **out,
                               beck_error *err)
{
    struct clock *clock = clock_system();
    int64_t until_ns = INT64_MAX;
    if (r->follow && timeout_ms >= 0)
        until_ns = clock_mono_ns(clock) +
                   (timeout_ms > INT64_MAX / 4000000 ? INT64_MAX / 4 : timeout_ms * 1000000);
    if (r->damage.code) {
        beck_error why = r->damage;
        error_clear(&r->damage);
        return error_set(err, why.code, "%s", why.text);
    }
    for (;;) {
        const beck_event *e = next_of_page(r);
        if (e) {
            *out = e;
            /* The server works on the next page meanwhile. */
            if (r->next == 1 && !r->asked && r->connection && !is_past_ends(r) &&
                ask(r, false, NULL, NULL))
                hang_up(r);
            return BECK_OK;
        }
        if (has_ended(r))
            return error_set(err, BECK_END, "there are no more events");
        beck_status status = BECK_OK;
        if (!r->asked)
            status = ask_for_page(r, r->follow && r->at_end, err);
        if (!status)
            status = receive_page(r, next_look_ns(r, until_ns), err);
        if (status == BECK_ETIMEDOUT && clock_mono_ns(clock) < until_ns) {
            if (time_is_over(r) && r->waits) { /* no need to wait: one last look */
                hang_up(r);
                r->at_end = false;
            }
            continue;
        }
        if (status == BECK_ETIMEDOUT)
            return error_set(err, status, "no event came in time");
        if (status)
            return status;
    }
}
