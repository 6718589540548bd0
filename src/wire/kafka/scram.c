/* DescribeUserScramCredentials and AlterUserScramCredentials: what the layer below keeps of SCRAM. */
#include "kafka/scram.h"
#include "kafka/message/scram.h"
#include "wire/kafka/wire_impl.h"

#include "access/secret.h"
#include "base/error.h"

#define ITERATIONS_MIN 4096
#define ITERATIONS_MAX 16384 /* Kafka's */

typedef struct kafka_describe_user_scram_credentials_response_result described;
typedef struct kafka_alter_user_scram_credentials_response_result altered;

/* ---- describing ---- */

struct description {
    struct kafka_request *r;
    const struct kafka_describe_user_scram_credentials_request *q;
    struct kafka_describe_user_scram_credentials_response a;
    size_t cap;
    bool failed;
};

static described *result_of(struct description *d, beck_bytes user)
{
    for (size_t i = 0; i < d->a.results.count; i++)
        if (bytes_equal(d->a.results.at[i].user, user))
            return &d->a.results.at[i];
    return NULL;
}

static described *add_result(struct description *d, beck_bytes user)
{
    struct kafka_arena *arena = request_arena(d->r);
    if (d->a.results.count == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 16;
        described *more = kafka_alloc_many(arena, cap, sizeof *more);
        if (!more)
            return NULL;
        if (d->a.results.count)
            memcpy(more, d->a.results.at, d->a.results.count * sizeof *more);
        d->a.results.at = more;
        d->cap = cap;
    }
    described *one = &d->a.results.at[d->a.results.count++];
    *one = (described){.user = kafka_copy(arena, user)};
    return one;
}

static void take(void *ctx, beck_bytes user, const struct scram_credential *c)
{
    struct description *d = ctx;
    bool all = d->q->users.count == 0;
    described *one = result_of(d, user);
    if (!one && all)
        one = add_result(d, user);
    if (!one) {
        d->failed |= all;
        return;
    }
    if (!one->credential_infos.at && /* at most one of each mechanism */
        !(one->credential_infos.at =
              kafka_alloc_many(request_arena(d->r), 2, sizeof *one->credential_infos.at))) {
        d->failed = true;
        return;
    }
    struct kafka_describe_user_scram_credentials_response_credential_info *info =
        &one->credential_infos.at[one->credential_infos.count++];
    info->mechanism = (int8_t)c->mechanism;
    info->iterations = c->iterations;
}

static void name_users(struct description *d)
{
    for (size_t i = 0; i < d->q->users.count && !d->failed; i++) {
        beck_bytes name = d->q->users.at[i].name;
        described *one = result_of(d, name);
        if (one) {
            one->error_code = KAFKA_DUPLICATE_RESOURCE;
            one->error_message = beck_str("Cannot describe SCRAM credentials for the same user "
                                          "twice in a single request");
        } else {
            d->failed = add_result(d, name) == NULL;
        }
    }
}

static void describe(struct kafka_request *r)
{
    struct description d = {.r = r, .q = request_body(r)};
    name_users(&d);
    scram_each(request_kafka(r), take, &d);
    if (d.failed) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    for (size_t i = 0; i < d.a.results.count; i++) {
        described *one = &d.a.results.at[i];
        if (one->error_code) {
            one->credential_infos.count = 0;
        } else if (one->credential_infos.count == 0) {
            one->error_code = KAFKA_RESOURCE_NOT_FOUND;
            one->error_message =
                beck_str("Attempt to describe a user credential that does not exist");
        }
    }
    request_answer(r, &d.a);
}

void handle_describe_user_scram_credentials(struct kafka_request *r)
{
    struct kafka_describe_user_scram_credentials_response a;
    if (request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, beck_str(""))) {
        request_defer(r, describe);
        return;
    }
    kafka_describe_user_scram_credentials_response_init(&a);
    a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    request_answer(r, &a);
}

/* ---- altering ---- */

static void refuse(altered *one, int code, const char *why)
{
    one->error_code = (int16_t)code;
    one->error_message = beck_str(why);
}

static bool is_mechanism(int8_t m)
{
    return m == SCRAM_SHA_256 || m == SCRAM_SHA_512;
}

static void after_store(struct kafka_request *r, altered *one, beck_status status,
                        const beck_error *err)
{
    if (status == BECK_ENOENT)
        refuse(one, KAFKA_RESOURCE_NOT_FOUND,
               "Attempt to delete a user credential that does not exist");
    else if (status) {
        one->error_code = KAFKA_UNKNOWN_SERVER_ERROR;
        one->error_message = kafka_text(request_arena(r), err->text);
    }
}

static bool derive(beck_bytes salted, struct scram_credential *out)
{
    struct access_scram keys;
    size_t len = scram_key_len(out->mechanism);
    if (!scram_derive(out->mechanism == SCRAM_SHA_256 ? SCRAM_HASH_256 : SCRAM_HASH_512, salted,
                      &keys))
        return false;
    memcpy(out->stored_key, keys.stored_key, len);
    memcpy(out->server_key, keys.server_key, len);
    return true;
}

static void upsert(struct kafka_request *r,
                   const struct kafka_alter_user_scram_credentials_request_upsertion *u,
                   altered *one)
{
    struct scram_credential c = {.mechanism = (enum scram_mechanism)u->mechanism,
                                 .iterations = u->iterations};
    beck_error err = {0};
    if (!is_mechanism(u->mechanism)) {
        refuse(one, KAFKA_UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism");
        return;
    }
    if (u->iterations < ITERATIONS_MIN)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "Too few iterations");
    else if (u->iterations > ITERATIONS_MAX)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "Too many iterations");
    else if (u->salt.len == 0 || u->salt.len > SCRAM_SALT_MAX)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "The salt is of a wrong length");
    else if (u->salted_password.len == 0)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "The salted password is empty");
    if (one->error_code)
        return;
    c.salt_len = u->salt.len;
    memcpy(c.salt, u->salt.data, u->salt.len);
    if (derive(u->salted_password, &c))
        after_store(r, one, scram_put(request_kafka(r), u->name, &c, &err), &err);
    else
        refuse(one, KAFKA_UNKNOWN_SERVER_ERROR, "there is no memory for a credential");
}

static void erase(struct kafka_request *r,
                  const struct kafka_alter_user_scram_credentials_request_deletion *d, altered *one)
{
    beck_error err = {0};
    if (!is_mechanism(d->mechanism))
        refuse(one, KAFKA_UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism");
    else
        after_store(
            r, one,
            scram_delete(request_kafka(r), d->name, (enum scram_mechanism)d->mechanism, &err),
            &err);
}

static bool is_twice(const struct kafka_alter_user_scram_credentials_request *q, beck_bytes name,
                     int8_t mechanism)
{
    size_t count = 0;
    for (size_t i = 0; i < q->deletions.count; i++)
        count +=
            q->deletions.at[i].mechanism == mechanism && bytes_equal(q->deletions.at[i].name, name);
    for (size_t i = 0; i < q->upsertions.count; i++)
        count += q->upsertions.at[i].mechanism == mechanism &&
                 bytes_equal(q->upsertions.at[i].name, name);
    return count > 1;
}

/* As long as there are no users any name will do. */
static bool is_known(struct kafka_request *r, beck_bytes name)
{
    struct access *a = r->wire->context.access;
    struct identity *user = access_named(a, name);
    identity_release(user);
    return user || access_user_count(a) == 0;
}

/* Whether the name may be changed; else `one` says why not. */
static bool check(struct kafka_request *r, beck_bytes name, int8_t mechanism, bool upserts,
                  altered *one)
{
    if (!request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, beck_str("")))
        refuse(one, KAFKA_CLUSTER_AUTHORIZATION_FAILED, "Cluster authorization failed");
    else if (name.len == 0)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "Username must not be empty");
    else if (name.len > SCRAM_USER_MAX)
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL, "Username is too long");
    else if (upserts && !is_known(r, name))
        refuse(one, KAFKA_UNACCEPTABLE_CREDENTIAL,
               "there is no such user on this server: see beck user");
    else if (is_twice(request_body(r), name, mechanism))
        refuse(one, KAFKA_DUPLICATE_RESOURCE,
               "A user credential cannot be altered twice in the same request");
    return one->error_code == 0;
}

static void alter(struct kafka_request *r)
{
    const struct kafka_alter_user_scram_credentials_request *q = request_body(r);
    struct kafka_alter_user_scram_credentials_response a;
    size_t n = 0;
    kafka_alter_user_scram_credentials_response_init(&a);
    if (!kafka_array(request_arena(r), &a.results, q->deletions.count + q->upsertions.count)) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    for (size_t i = 0; i < q->deletions.count; i++) {
        altered *one = &a.results.at[n++];
        one->user = q->deletions.at[i].name;
        if (check(r, one->user, q->deletions.at[i].mechanism, false, one))
            erase(r, &q->deletions.at[i], one);
    }
    for (size_t i = 0; i < q->upsertions.count; i++) {
        altered *one = &a.results.at[n++];
        one->user = q->upsertions.at[i].name;
        if (check(r, one->user, q->upsertions.at[i].mechanism, true, one))
            upsert(r, &q->upsertions.at[i], one);
    }
    request_answer(r, &a);
}

void handle_alter_user_scram_credentials(struct kafka_request *r)
{
    request_defer(r, alter);
}
