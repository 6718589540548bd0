/* DescribeClientQuotas and AlterClientQuotas: there are no quotas, and none can be set. */
#include "kafka/message/quotas.h"
#include "wire/kafka/handlers.h"

void handle_describe_client_quotas(struct kafka_request *r)
{
    struct kafka_describe_client_quotas_response a;
    kafka_describe_client_quotas_response_init(&a);
    if (!request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_DESCRIBE_CONFIGS, beck_str(""))) {
        a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
        a.entries.is_null = true;
    }
    request_answer(r, &a);
}

void handle_alter_client_quotas(struct kafka_request *r)
{
    const struct kafka_alter_client_quotas_request *q = request_body(r);
    struct kafka_alter_client_quotas_response a;
    struct kafka_arena *arena = request_arena(r);
    bool may = request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER_CONFIGS, beck_str(""));
    kafka_alter_client_quotas_response_init(&a);
    bool ok = kafka_array(arena, &a.entries, q->entries.count);
    for (size_t i = 0; i < q->entries.count && ok; i++) {
        struct kafka_alter_client_quotas_response_entry *e = &a.entries.at[i];
        ok = kafka_array(arena, &e->entity, q->entries.at[i].entity.count);
        for (size_t n = 0; n < e->entity.count && ok; n++) {
            e->entity.at[n].entity_type = q->entries.at[i].entity.at[n].entity_type;
            e->entity.at[n].entity_name = q->entries.at[i].entity.at[n].entity_name;
        }
        e->error_code = may ? KAFKA_INVALID_REQUEST : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
        e->error_message = may ? beck_str("quotas are not supported here") : (beck_bytes){NULL, 0};
    }
    if (ok)
        request_answer(r, &a);
    else
        request_fail(r, "there is no memory for an answer");
}
