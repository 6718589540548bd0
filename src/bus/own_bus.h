/*
 * The buses of beck's own: their names, and what is so of each. Whoever makes one has its name from here, whoever meets one
 * asks the table. Constants only: from any thread.
 */
#ifndef BECK_BUS_OWN_BUS_H
#define BECK_BUS_OWN_BUS_H

#include <stdbool.h>

#define OWN_TOPOLOGY "__topology"                   /* what exists */
#define OWN_QUEUE_STATE "__queue_state"             /* operations and snapshots of all queues */
#define OWN_DEAD_LETTERS "__dead_letters"           /* of all queues */
#define OWN_USERS "__users"                         /* of a server */
#define OWN_REFUSED_HOOKS "__refused_hooks"         /* webhooks that were no events */
#define OWN_KAFKA "__kafka"                         /* configurations, rules, credentials */
#define OWN_CONSUMER_OFFSETS "__consumer_offsets"   /* groups of Kafka's clients */
#define OWN_TRANSACTION_STATE "__transaction_state" /* transactions of Kafka's clients */
#define OWN_AMQP "__amqp"                           /* what AMQP clients declared */
#define OWN_AMQP_MEMORY "__amqp_memory"             /* messages that last as long as the process */
#define OWN_AMQP_TRANSIENT "__amqp_transient" /* messages that durable queues got, and may forget */
#define OWN_AMQP_PAST "__amqp_past"           /* copies of what a bus had before */
#define OWN_AMQP_DELAYED "__amqp_delayed"     /* messages until their time */

/* Who cannot do without it: what is shut while it is damaged. */
enum own_bus_need {
    OWN_FOR_DIRECTORY = 1, /* nothing is opened */
    OWN_FOR_SERVER = 2,    /* a server is not ready */
    OWN_FOR_AMQP = 4,      /* AMQP is not served */
    OWN_FOR_KAFKA = 8      /* Kafka's protocol is not served */
};

/* On disk where there is a disk. */
struct own_bus {
    const char *name;
    bool compact;
    bool unlisted;    /* OWN_TOPOLOGY says nothing of it: it is opened with the directory */
    unsigned needs;   /* enum own_bus_need, of which several */
    const char *lost; /* what is so besides once some of it is given up */
};

/* In order of need; the last has no name. */
extern const struct own_bus own_buses[];

/* NULL: there is no such bus on disk. */
const struct own_bus *own_bus_find(const char *name);
/* Whether the name is that of a bus of beck's own, whether that is there or not, or kept for one. They begin with "__";
 * other names that do are anybody's. */
bool own_bus_is_name(const char *name);

#endif
