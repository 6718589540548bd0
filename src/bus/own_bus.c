/* The buses of beck's own: see own_bus.h. */
#include "bus/own_bus.h"

#include <stddef.h>
#include <string.h>

const struct own_bus own_buses[] = {
    {OWN_TOPOLOGY, true, true, OWN_FOR_DIRECTORY,
     "what was made, changed or deleted there is as it was before: look at beck bus list and beck "
     "queue list"},
    {OWN_QUEUE_STATE, false, true, OWN_FOR_SERVER | OWN_FOR_AMQP,
     "queues may deliver again what was settled, and count failed attempts anew"},
    {OWN_DEAD_LETTERS, false, true, OWN_FOR_SERVER,
     "these dead letters are lost, or their events are delivered again"},
    {OWN_USERS, true, false, OWN_FOR_SERVER,
     "users and rights that were changed there are as they were before, or gone: look at beck user "
     "list before anybody else can reach the server"},
    {OWN_REFUSED_HOOKS, false, false, OWN_FOR_SERVER, "these refused webhooks are lost"},
    {OWN_KAFKA, true, false, OWN_FOR_KAFKA,
     "configurations, rules and credentials of Kafka's clients that were changed there are as they "
     "were before, or gone"},
    {OWN_CONSUMER_OFFSETS, true, false, OWN_FOR_KAFKA,
     "groups of Kafka's clients may read again what they had read"},
    {OWN_TRANSACTION_STATE, true, false, OWN_FOR_KAFKA,
     "transactions that were under way may stay open in their topics: kafka-transactions abort "
     "ends them"},
    {OWN_AMQP, true, false, OWN_FOR_AMQP,
     "what AMQP clients declared, changed or deleted there is as it was before, or gone"},
    {OWN_AMQP_TRANSIENT, false, false, OWN_FOR_AMQP, "these messages are lost"},
    {OWN_AMQP_PAST, false, false, OWN_FOR_AMQP, "these messages are lost"},
    {OWN_AMQP_DELAYED, false, false, OWN_FOR_AMQP, "these messages are lost"},
    {0}};

const struct own_bus *own_bus_find(const char *name)
{
    for (const struct own_bus *own = own_buses; own->name; own++)
        if (strcmp(own->name, name) == 0)
            return own;
    return NULL;
}

bool own_bus_is_name(const char *name)
{
    /* The directory of queues' files, and what is internal in Kafka, whether beck has it or not. */
    static const char *const kept[] = {"__queues", "__share_group_state", "__cluster_metadata",
                                       OWN_AMQP_MEMORY};
    if (strncmp(name, "__", 2) != 0)
        return false;
    if (strncmp(name + 2, "beck", 4) == 0) /* what later versions will have */
        return true;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(name, kept[i]) == 0)
            return true;
    return own_bus_find(name);
}
