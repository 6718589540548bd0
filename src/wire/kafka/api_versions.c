/*
 * ApiVersions: what is answered, before anybody logs in. A version that is not known is answered too, in
 * the layout of version 0 and with nothing but its own range, so that the client asks again.
 */
#include "kafka/message/api_versions.h"
#include "wire/kafka/wire_impl.h"

#define FEATURES_EPOCH 1

/* The levels of a server of Apache Kafka 4.3, without streams.version: there are no streams groups.
 * Features that may be 0 are not for clients before version 4, which refuse such answers. */
static const struct feature {
    const char *name;
    int16_t least, most, level; /* level 0: it is not finalized */
} features[] = {
    {"eligible.leader.replicas.version", 0, 1, 1},
    {"group.version", 0, 1, 1},
    {"kraft.version", 0, 1, 0},
    {"metadata.version", 7, 30, 30},
    {"share.version", 0, 1, 1},
    {"transaction.version", 0, 2, 2},
};

#define FEATURES (sizeof features / sizeof *features)

static bool is_word(beck_bytes b)
{
    const char *p = b.data;
    for (size_t i = 0; i < b.len; i++) {
        bool alphanumeric = (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
                            (p[i] >= '0' && p[i] <= '9');
        bool inside = i > 0 && i + 1 < b.len;
        if (!alphanumeric && !(inside && (p[i] == '-' || p[i] == '.')))
            return false;
    }
    return b.len > 0;
}

static void put_key(struct kafka_api_versions_response *a, const struct api *api)
{
    a->api_keys.at[a->api_keys.count++] = (struct kafka_api_versions_response_api_key){
        .api_key = api->key, .min_version = api->first, .max_version = api->last};
}

static void put_features(struct kafka_api_versions_response *a, int16_t version)
{
    a->finalized_features_epoch = FEATURES_EPOCH;
    for (size_t i = 0; i < FEATURES; i++) {
        const struct feature *f = &features[i];
        if (version >= 4 || f->least > 0)
            a->supported_features.at[a->supported_features.count++] =
                (struct kafka_api_versions_response_supported_feature){
                    .name = beck_str(f->name), .min_version = f->least, .max_version = f->most};
        if (f->level > 0)
            a->finalized_features.at[a->finalized_features.count++] =
                (struct kafka_api_versions_response_finalized_feature){
                    .name = beck_str(f->name),
                    .max_version_level = f->level,
                    .min_version_level = f->level};
    }
}

void handle_api_versions(struct kafka_request *r)
{
    const struct kafka_api_versions_request *q = request_body(r);
    struct kafka_api_versions_response a;
    struct kafka_arena *arena = request_arena(r);
    kafka_api_versions_response_init(&a);
    if (!kafka_array(arena, &a.api_keys, kafka_api_count) ||
        !kafka_array(arena, &a.supported_features, FEATURES) ||
        !kafka_array(arena, &a.finalized_features, FEATURES)) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    a.api_keys.count = a.supported_features.count = a.finalized_features.count = 0;
    if (r->refused) {
        r->version = 0;
        a.error_code = KAFKA_UNSUPPORTED_VERSION;
        put_key(&a, r->api);
    } else if (r->version >= 3 &&
               (!is_word(q->client_software_name) || !is_word(q->client_software_version))) {
        a.error_code = KAFKA_INVALID_REQUEST;
    } else {
        for (size_t i = 0; i < kafka_api_count; i++)
            put_key(&a, &kafka_apis[i]);
        put_features(&a, r->version);
    }
    request_answer(r, &a);
}

/* ---- UpdateFeatures: the levels are those of this version, and a wish for them is granted ---- */

static bool is_level(const struct kafka_update_features_request_update *u)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (bytes_equal_text(u->feature, features[i].name))
            return u->max_version_level == features[i].level;
    return false;
}

void handle_update_features(struct kafka_request *r)
{
    static const char why[] = "the levels of features come with the version of beck";
    const struct kafka_update_features_request *q = request_body(r);
    struct kafka_update_features_response a;
    kafka_update_features_response_init(&a);
    if (!request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, (beck_bytes){0}))
        a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    for (size_t i = 0; i < q->feature_updates.count && !a.error_code; i++)
        if (!is_level(&q->feature_updates.at[i])) {
            a.error_code = KAFKA_INVALID_UPDATE_VERSION;
            a.error_message = beck_str(why);
        }
    size_t granted = a.error_code ? 0 : q->feature_updates.count; /* all of them, or none */
    if (!kafka_array(request_arena(r), &a.results, granted)) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    for (size_t i = 0; i < granted; i++) {
        a.results.at[i].feature = q->feature_updates.at[i].feature;
        a.results.at[i].error_message = (beck_bytes){0};
    }
    request_answer(r, &a);
}
