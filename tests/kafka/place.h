/* What Kafka's protocol stands on, over a handle on the simulated disk with a virtual clock. */
#ifndef TESTS_KAFKA_PLACE_H
#define TESTS_KAFKA_PLACE_H

#include "kafka/topics.h"
#include "queue/world.h"

struct place {
    struct world w;
    struct kafka *k;
    struct kafka_settings settings;
    char text[KAFKA_TEXT]; /* about the last error */
};

static inline void place_begin(struct place *p)
{
    check_ok(kafka_open(p->w.b, &p->settings, &p->k, err));
}

static inline void place_start(struct place *p)
{
    *p = (struct place){.settings = {.auto_create_topics = true,
                                     .partitions = 4,
                                     .node_id = 1,
                                     .acks_one = BECK_LEVEL_WRITTEN,
                                     .acks_all = BECK_LEVEL_SYNCED}};
    world_start(&p->w, 1);
    place_begin(p);
}

static inline void place_end(struct place *p)
{
    kafka_close(p->k);
    world_end(&p->w);
}

static inline void place_reopen(struct place *p)
{
    kafka_close(p->k);
    world_reopen(&p->w);
    place_begin(p);
}

/* The power goes. */
static inline void place_crash(struct place *p)
{
    vfs_sim_crash(p->w.vfs);
    kafka_close(p->k);
    beck_abandon(p->w.b);
    world_open(&p->w);
    place_begin(p);
}

/* Fails unless the call, which writes to p->text, gives the code and a text with the words. */
#define refused(p, code_, words, call)                                                             \
    do {                                                                                           \
        (p)->text[0] = 0;                                                                          \
        int refused_code = (call);                                                                 \
        if (refused_code != (code_) || !strstr((p)->text, words))                                  \
            fail_msg("%s: %s: %s", #call, kafka_error_name(refused_code), (p)->text);              \
    } while (0)
#define accepted(p, call) refused(p, KAFKA_NONE, "", call)

static inline int create(struct place *p, const char *name, int32_t partitions)
{
    struct topic_made made = {0};
    struct topic_new what = {
        .name = beck_str(name), .partitions = partitions, .replication_factor = -1};
    return topics_create(p->k, &what, &made, p->text);
}

static inline struct topic *topic(struct place *p, const char *name)
{
    struct topic *t = topics_find(p->k, beck_str(name));
    if (!t)
        fail_msg("there is no topic %s", name);
    return t;
}

#endif
