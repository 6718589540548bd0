/*
 * Who may do what, in the server's rights:
 *
 *   topic             a bus      read: read; write: publish; create: create; describe: describe
 *                                (part of any right); else admin
 *   group             a queue    read: work; describe: describe; else admin
 *   transactional id  a queue    write: work; describe: describe; else admin
 *   cluster           everything describe, and idempotent writes: anybody; create: create; else admin
 */
#include "wire/kafka/wire_impl.h"

#define NAME_MAX_BYTES 1024

static bool is_description(enum kafka_operation operation)
{
    return operation == KAFKA_OP_DESCRIBE || operation == KAFKA_OP_DESCRIBE_CONFIGS;
}

static bool may(const struct identity *i, enum kafka_resource resource,
                enum kafka_operation operation, const char *name)
{
    enum access_kind kind = resource == KAFKA_RESOURCE_TOPIC ? ACCESS_BUS : ACCESS_QUEUE;
    if (resource == KAFKA_RESOURCE_CLUSTER)
        return operation == KAFKA_OP_DESCRIBE || operation == KAFKA_OP_IDEMPOTENT_WRITE ||
               identity_may(i, operation == KAFKA_OP_CREATE ? ACCESS_CREATE : ACCESS_ADMIN,
                            ACCESS_SERVER, "");
    if (is_description(operation))
        return identity_may(i, ACCESS_DESCRIBE, kind, name);
    if (operation == KAFKA_OP_CREATE)
        return identity_may(i, ACCESS_CREATE, kind, name);
    if (resource == KAFKA_RESOURCE_TOPIC && operation == KAFKA_OP_READ)
        return identity_may(i, ACCESS_READ, kind, name);
    if (resource == KAFKA_RESOURCE_TOPIC && operation == KAFKA_OP_WRITE)
        return identity_may(i, ACCESS_PUBLISH, kind, name);
    if (operation == KAFKA_OP_READ || operation == KAFKA_OP_WRITE)
        return identity_may(i, ACCESS_WORK, kind, name);
    return identity_may(i, ACCESS_ADMIN, kind, name);
}

bool request_may(const struct kafka_request *r, enum kafka_resource resource,
                 enum kafka_operation operation, beck_bytes name)
{
    char text[NAME_MAX_BYTES + 1];
    size_t len = resource == KAFKA_RESOURCE_CLUSTER ? 0 : name.len;
    if (!r->identity)
        return false;
    if (len > NAME_MAX_BYTES) /* only those who may do everything have rights on such a name */
        return identity_may(r->identity, ACCESS_ADMIN, ACCESS_SERVER, "");
    if (len)
        memcpy(text, name.data, len);
    text[len] = 0;
    return may(r->identity, resource, operation, text);
}

int32_t request_operations(const struct kafka_request *r, enum kafka_resource resource,
                           beck_bytes name)
{
    static const uint32_t sensible[] = {
        [KAFKA_RESOURCE_TOPIC] = 1 << KAFKA_OP_READ | 1 << KAFKA_OP_WRITE | 1 << KAFKA_OP_CREATE |
                                 1 << KAFKA_OP_DELETE | 1 << KAFKA_OP_ALTER |
                                 1 << KAFKA_OP_DESCRIBE | 1 << KAFKA_OP_DESCRIBE_CONFIGS |
                                 1 << KAFKA_OP_ALTER_CONFIGS,
        [KAFKA_RESOURCE_GROUP] = 1 << KAFKA_OP_READ | 1 << KAFKA_OP_DELETE |
                                 1 << KAFKA_OP_DESCRIBE | 1 << KAFKA_OP_DESCRIBE_CONFIGS |
                                 1 << KAFKA_OP_ALTER_CONFIGS,
        [KAFKA_RESOURCE_CLUSTER] = 1 << KAFKA_OP_CREATE | 1 << KAFKA_OP_ALTER |
                                   1 << KAFKA_OP_DESCRIBE | 1 << KAFKA_OP_CLUSTER_ACTION |
                                   1 << KAFKA_OP_DESCRIBE_CONFIGS | 1 << KAFKA_OP_ALTER_CONFIGS |
                                   1 << KAFKA_OP_IDEMPOTENT_WRITE,
        [KAFKA_RESOURCE_TRANSACTIONAL_ID] = 1 << KAFKA_OP_WRITE | 1 << KAFKA_OP_DESCRIBE};
    uint32_t all = 0;
    for (int op = KAFKA_OP_READ; op <= KAFKA_OP_IDEMPOTENT_WRITE; op++)
        if ((sensible[resource] >> op & 1) &&
            request_may(r, resource, (enum kafka_operation)op, name))
            all |= (uint32_t)1 << op;
    return (int32_t)all;
}
