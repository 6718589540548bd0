/* A broker on the simulated disk and a virtual clock, and short words for declaring. */
#ifndef TESTS_BROKER_PLACE_H
#define TESTS_BROKER_PLACE_H

#include "broker/listing.h"
#include "broker/topology.h"
#include "queue/world.h"

struct place {
    struct world w;
    struct broker *broker;
    struct session *s;
    struct broker_settings settings;
    char text[BROKER_TEXT];
    char names[4096]; /* of the last route */
};

/* Fails unless the call, which has `text`, gives the code and a text with the words. */
#define refused(code_, words, call)                                                                \
    do {                                                                                           \
        char text[BROKER_TEXT] = "";                                                               \
        int refused_code = (call);                                                                 \
        if (refused_code != (code_) || ((code_) && !strstr(text, words)))                          \
            fail_msg("%s: %d %s", #call, refused_code, text);                                      \
    } while (0)
#define accepted(call) refused(0, "", call)

static inline struct session *place_session(struct place *p, const char *vhost, const char *user,
                                            uint64_t connection)
{
    struct session *s = NULL;
    struct session_options o = {.vhost = beck_str(vhost),
                                .user = user ? user : "root",
                                .everything = !user,
                                .connection = connection};
    accepted(session_open(p->broker, &o, &s, text));
    return s;
}

static inline void place_begin(struct place *p)
{
    check_ok(broker_open(p->w.b, &p->settings, &p->broker, err));
    p->s = place_session(p, "/", NULL, 1);
}

static inline void place_start(struct place *p, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    world_start(&p->w, seed);
    place_begin(p);
}

static inline void place_finish(struct place *p)
{
    session_close(p->s);
    broker_close(p->broker);
}

static inline void place_end(struct place *p)
{
    place_finish(p);
    world_end(&p->w);
}

static inline void place_reopen(struct place *p)
{
    place_finish(p);
    world_reopen(&p->w);
    place_begin(p);
}

/* The power goes, or (killed) the process ends and what was written stays. Then the directory is open without a
 * broker. */
static inline void place_lose(struct place *p, bool killed)
{
    (killed ? vfs_sim_kill : vfs_sim_crash)(p->w.vfs);
    if (p->s)
        session_close(p->s);
    broker_close(p->broker);
    beck_abandon(p->w.b);
    p->s = NULL;
    p->broker = NULL;
    world_open(&p->w);
}

static inline void place_crash(struct place *p)
{
    place_lose(p, false);
    place_begin(p);
}

/* ---- declaring: flags are letters: d durable, a auto-delete, i internal, x exclusive, p passive ---- */

static inline bool has(const char *flags, char flag)
{
    return strchr(flags, flag) != NULL;
}

static inline int exchange(struct session *s, const char *name, const char *type, const char *flags,
                           const struct buf *arguments, char *text)
{
    struct exchange_declaration d = {.name = beck_str(name),
                                     .type = beck_str(type),
                                     .passive = has(flags, 'p'),
                                     .durable = has(flags, 'd'),
                                     .auto_delete = has(flags, 'a'),
                                     .internal = has(flags, 'i')};
    if (arguments)
        d.arguments = buf_bytes(arguments);
    return session_declare_exchange(s, &d, text);
}

static inline int queue_as(struct session *s, const char *name, const char *flags,
                           const struct buf *arguments, struct queue_declared *out, char *text)
{
    struct queue_declared none;
    struct queue_declaration d = {.name = beck_str(name),
                                  .passive = has(flags, 'p'),
                                  .durable = has(flags, 'd'),
                                  .exclusive = has(flags, 'x'),
                                  .auto_delete = has(flags, 'a')};
    if (arguments)
        d.arguments = buf_bytes(arguments);
    return session_declare_queue(s, &d, out ? out : &none, text);
}

static inline int queue(struct session *s, const char *name, const char *flags, char *text)
{
    return queue_as(s, name, flags, NULL, NULL, text);
}

/* to: "queue", or "@exchange". */
static inline struct binding_declaration binding(const char *source, const char *to,
                                                 const char *key)
{
    bool exchange = *to == '@';
    return (struct binding_declaration){.to_exchange = exchange,
                                        .source = beck_str(source),
                                        .destination = beck_str(to + exchange),
                                        .routing_key = beck_str(key)};
}

static inline int bind_to(struct session *s, const char *source, const char *to, const char *key,
                          char *text)
{
    struct binding_declaration d = binding(source, to, key);
    return session_bind(s, &d, text);
}

static inline int unbind_from(struct session *s, const char *source, const char *to,
                              const char *key, char *text)
{
    struct binding_declaration d = binding(source, to, key);
    return session_unbind(s, &d, text);
}

static inline int delete_queue(struct session *s, const char *name, char *text)
{
    uint32_t messages;
    return session_delete_queue(s, beck_str(name), false, false, &messages, text);
}

/* ---- looking ---- */

static inline int compare_names(const void *a, const void *b)
{
    const struct broker_queue *const *x = a, *const *y = b;
    return bytes_compare((*x)->name, (*y)->name);
}

/* The queues that a message would get to, in order of name: "a b c"; "?": there is no such exchange. */
static inline const char *route_with(struct place *p, struct session *s, const char *name,
                                     const char *key, const struct properties *properties)
{
    struct targets t = {0};
    struct broker *b = s->broker;
    p->names[0] = 0;
    topology_read(b);
    struct exchange *x = topology_exchange(s->vhost, beck_str(name));
    if (!x)
        strcpy(p->names, "?");
    else
        assert_int_equal(topology_route(x, beck_str(key), properties, &t), BECK_OK);
    if (t.count > 0)
        qsort(t.queues, t.count, sizeof(struct broker_queue *), compare_names);
    for (size_t i = 0; i < t.count; i++)
        snprintf(p->names + strlen(p->names), sizeof p->names - strlen(p->names), "%s%s",
                 i ? " " : "", (const char *)t.queues[i]->name.data);
    topology_end_read(b);
    targets_release(&t);
    return p->names;
}

static inline const char *route(struct place *p, const char *name, const char *key)
{
    return route_with(p, p->s, name, key, NULL);
}

#endif
