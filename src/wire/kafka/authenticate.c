/*
 * SaslHandshake and SaslAuthenticate, and the tokens without headers that follow a SaslHandshake of
 * version 0. Whoever is refused is told so, and the connection ends behind that.
 */
#include "kafka/message/sasl.h"
#include "wire/kafka/sasl.h"
#include "wire/kafka/wire_impl.h"

#include "access/user.h"

#define TOKEN_MAX 16384

void handle_sasl_handshake(struct kafka_request *r)
{
    const struct kafka_sasl_handshake_request *q = request_body(r);
    struct kafka_connection *c = r->c;
    struct kafka_sasl_handshake_response a;
    const struct net_peer *p = request_peer(r);
    struct access_peer peer = {.address = p->address, .loopback = p->loopback};
    bool known;
    kafka_sasl_handshake_response_init(&a);
    sasl_free(c->sasl);
    c->sasl = sasl_new(request_kafka(r), r->wire->context.access, &peer, q->mechanism, &known);
    if (!kafka_array(request_arena(r), &a.mechanisms, SASL_MECHANISMS) || (known && !c->sasl)) {
        request_fail(r, "there is no memory for a login");
        return;
    }
    for (size_t i = 0; i < SASL_MECHANISMS; i++)
        a.mechanisms.at[i] = beck_str(sasl_mechanisms[i]);
    a.error_code = known ? KAFKA_NONE : KAFKA_UNSUPPORTED_SASL_MECHANISM;
    c->tokens = known && request_version(r) == 0;
    request_answer(r, &a);
}

/* One step of a login, between the pool and the loop. */
struct login {
    enum sasl_step step;
    struct identity *who;
    struct buf out;
    beck_error err;
};

static bool is_another(const struct kafka_connection *c, const struct identity *who)
{
    return c->identity && *identity_name(c->identity) &&
           strcmp(identity_name(c->identity), identity_name(who)) != 0;
}

static void finish(struct kafka_request *r)
{
    struct login *l = request_state(r);
    struct kafka_connection *c = r->c;
    struct kafka_sasl_authenticate_response a;
    kafka_sasl_authenticate_response_init(&a);
    if (l->step == SASL_DONE && is_another(c, l->who)) {
        identity_release(l->who);
        l->step = SASL_REFUSED;
        error_set(&l->err, BECK_EDENIED,
                  "Authentication failed: a connection cannot become another user's");
    }
    if (l->step == SASL_DONE) {
        identity_release(c->identity);
        c->identity = l->who;
        c->tokens = false;
        kafka_log(c, KAFKA_LOG_DEBUG, "a Kafka client has logged in", NULL);
    }
    if (l->step == SASL_REFUSED) {
        kafka_log(c, KAFKA_LOG_WARN, "a login over Kafka's protocol was refused", l->err.text);
        a.error_code = KAFKA_SASL_AUTHENTICATION_FAILED;
        a.error_message = beck_str(l->err.text);
        c->draining = true;
    }
    if (l->step != SASL_MORE) {
        sasl_free(c->sasl);
        c->sasl = NULL;
    }
    struct buf out = l->out; /* outlives the request */
    a.auth_bytes = out.len ? buf_bytes(&out) : beck_str("");
    if (r->token && l->step == SASL_REFUSED)
        request_fail(r, "a login was refused");
    else
        request_answer(r, &a);
    buf_release(&out);
}

static void run(struct kafka_request *r)
{
    const struct kafka_sasl_authenticate_request *q = request_body(r);
    struct login *l = request_state(r);
    l->step = sasl_step(r->c->sasl, q->auth_bytes, &l->out, &l->who, &l->err);
    request_post(r, finish);
}

void handle_sasl_authenticate(struct kafka_request *r)
{
    struct login *l = request_alloc(r, sizeof *l);
    if (!l) {
        request_fail(r, "there is no memory for a login");
        return;
    }
    if (!r->c->sasl) {
        struct kafka_sasl_authenticate_response a;
        kafka_sasl_authenticate_response_init(&a);
        a.error_code = KAFKA_ILLEGAL_SASL_STATE;
        a.error_message = beck_str("SaslAuthenticate came without a SaslHandshake before it");
        request_answer(r, &a);
        return;
    }
    buf_init(&l->out, TOKEN_MAX);
    request_set_state(r, l);
    request_defer(r, run);
}
