/*
 * Negotiation: start, start-ok, tune, tune-ok, open; and update-secret, later. Passwords are checked on a pool
 * of their own, so that logins hold up nothing but each other.
 */
#include "wire/amqp/amqp_impl.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define PROPERTIES_MAX 4096

static const char *const capabilities[] = {
    "publisher_confirms",           "exchange_exchange_bindings", "basic.nack",
    "consumer_cancel_notify",       "connection.blocked",         "consumer_priorities",
    "authentication_failure_close", "per_consumer_qos",           "direct_reply_to"};

static struct access_peer peer_of(const struct amqp_connection *c)
{
    const struct net_peer *p = connection_peer(c->net);
    return (struct access_peer){.address = p->address, .loopback = p->loopback};
}

static void put_server_properties(const struct amqp *a, struct buf *out)
{
    size_t table = table_begin(out, "capabilities", 'F');
    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
        table_put_bool(out, capabilities[i], true);
    table_end(out, table);
    table_put_text(out, "cluster_name", beck_str("beck"));
    table_put_text(out, "copyright", beck_str("the authors of beck"));
    table_put_text(out, "information", beck_str("beck " BECK_VERSION));
    table_put_text(out, "platform", beck_str("beck"));
    table_put_text(out, "product", beck_str(a->product));
    table_put_text(out, "version", beck_str(a->version));
}

static bool lets_anonymous_in(const struct amqp_connection *c)
{
    struct access_peer peer = peer_of(c);
    struct identity *i;
    if (access_anonymous(c->amqp->context.access, &peer, &i, NULL))
        return false;
    identity_release(i);
    return true;
}

/* The user whom the certificate of the client names. */
static bool shows_certificate(const struct amqp_connection *c, char name[ACCESS_NAME_MAX + 1])
{
    return connection_peer_name(c->net, name, ACCESS_NAME_MAX + 1);
}

static const char *mechanisms_of(const struct amqp_connection *c)
{
    char name[ACCESS_NAME_MAX + 1];
    bool anonymous = lets_anonymous_in(c);
    if (shows_certificate(c, name))
        return anonymous ? "PLAIN AMQPLAIN EXTERNAL ANONYMOUS" : "PLAIN AMQPLAIN EXTERNAL";
    return anonymous ? "PLAIN AMQPLAIN ANONYMOUS" : "PLAIN AMQPLAIN";
}

void handshake_start(struct amqp_connection *c)
{
    struct buf properties;
    struct method m = {.id = METHOD_connection_start};
    buf_init(&properties, PROPERTIES_MAX);
    put_server_properties(c->amqp, &properties);
    m.connection_start.version_major = 0;
    m.connection_start.version_minor = 9;
    m.connection_start.server_properties = buf_bytes(&properties);
    m.connection_start.mechanisms = beck_str(mechanisms_of(c));
    m.connection_start.locales = beck_str("en_US");
    amqp_send(c, 0, &m);
    buf_release(&properties);
    c->stage = STAGE_START_OK;
}

/* ---- start-ok ---- */

static bool announces(beck_bytes table, const char *name)
{
    struct table_value v;
    return table_find(table, name, &v) && v.kind == TABLE_BOOL && v.integer;
}

static bool keep_properties(struct amqp_connection *c, beck_bytes properties)
{
    struct table_value v;
    if (properties.len > 0 && table_find(properties, "capabilities", &v) && v.kind == TABLE_TABLE) {
        c->hears_cancel = announces(v.bytes, "consumer_cancel_notify");
        c->hears_blocked = announces(v.bytes, "connection.blocked");
        c->hears_refusal = announces(v.bytes, "authentication_failure_close");
    }
    mutex_lock(&c->amqp->lock);
    beck_status status = buf_append(&c->client_properties, properties.data, properties.len);
    mutex_unlock(&c->amqp->lock);
    return status == BECK_OK;
}

/* What a client shows; slices of the response. */
struct login {
    beck_bytes user, password;
    bool anonymous;
    char certified[ACCESS_NAME_MAX + 1]; /* "": no */
};

static bool read_plain(beck_bytes response, struct login *out)
{
    const char *at = response.data, *end = at + response.len;
    const char *user = response.len ? memchr(at, 0, response.len) : NULL;
    const char *password = user ? memchr(user + 1, 0, (size_t)(end - user - 1)) : NULL;
    if (!password)
        return false;
    out->user = bytes_of(user + 1, (size_t)(password - user - 1));
    out->password = bytes_of(password + 1, (size_t)(end - password - 1));
    return true;
}

static bool read_amqplain(beck_bytes response, struct login *out)
{
    struct table_value user, password;
    if (table_check(response, NULL) || !table_find(response, "LOGIN", &user) ||
        !table_find(response, "PASSWORD", &password) || user.kind != TABLE_TEXT ||
        password.kind != TABLE_TEXT)
        return false;
    out->user = user.bytes;
    out->password = password.bytes;
    return true;
}

enum reading { LOGIN_READ, LOGIN_UNKNOWN, LOGIN_MALFORMED };

static enum reading read_login(struct amqp_connection *c, const struct connection_start_ok *m,
                               struct login *out)
{
    bool read = true;
    if (bytes_equal_text(m->mechanism, "PLAIN")) {
        c->mechanism = "PLAIN";
        read = read_plain(m->response, out);
    } else if (bytes_equal_text(m->mechanism, "AMQPLAIN")) {
        c->mechanism = "AMQPLAIN";
        read = read_amqplain(m->response, out);
    } else if (bytes_equal_text(m->mechanism, "EXTERNAL") && shows_certificate(c, out->certified)) {
        c->mechanism = "EXTERNAL";
    } else if (bytes_equal_text(m->mechanism, "ANONYMOUS") && lets_anonymous_in(c)) {
        c->mechanism = "ANONYMOUS";
        out->anonymous = true;
    } else {
        return LOGIN_UNKNOWN;
    }
    return read ? LOGIN_READ : LOGIN_MALFORMED;
}

/* ---- who it is ---- */

static void send_tune(struct amqp_connection *c)
{
    const struct amqp_settings *s = &c->amqp->settings;
    struct method m = {.id = METHOD_connection_tune};
    m.connection_tune.channel_max = s->channel_max;
    m.connection_tune.frame_max = s->frame_max;
    m.connection_tune.heartbeat = s->heartbeat_s;
    amqp_send(c, 0, &m);
    c->stage = STAGE_TUNE_OK;
}

static void refuse_login(struct amqp_connection *c, beck_bytes user, const char *why)
{
    char detail[256];
    snprintf(detail, sizeof detail, "user '%.*s': %s", (int)(user.len < 80 ? user.len : 80),
             (const char *)user.data, why);
    amqp_log(c, AMQP_LOG_WARN, "an AMQP login was refused", detail);
    if (c->hears_refusal)
        amqp_refusef(c, REPLY_ACCESS_REFUSED, 0,
                     "Login was refused using authentication mechanism %s. For details see the "
                     "broker logfile.",
                     c->mechanism);
    else
        amqp_drop(c, "the login was refused");
}

/* Takes the identity. */
static void let_in(struct amqp_connection *c, beck_bytes user, struct identity *i)
{
    char *name = strndup(user.data, user.len);
    c->identity = i;
    mutex_lock(&c->amqp->lock);
    c->user = name;
    mutex_unlock(&c->amqp->lock);
    if (name)
        send_tune(c);
    else
        amqp_drop(c, "there is no memory for a login");
}

struct check {
    struct work work;
    beck_bytes user, password;
    struct identity *identity;
    beck_status status;
    beck_error error;
    uint8_t bytes[];
};

static void run_check(struct work *w)
{
    struct check *k = (struct check *)w;
    struct access_peer peer = peer_of(w->c);
    k->status = access_password(w->c->amqp->context.access, &peer, k->user, k->password,
                                &k->identity, NULL, &k->error);
}

static void finish_check(struct work *w)
{
    struct check *k = (struct check *)w;
    struct amqp_connection *c = w->c;
    if (k->status == BECK_OK && c->stage == STAGE_LOGIN)
        let_in(c, k->user, k->identity);
    else if (k->status == BECK_OK)
        identity_release(k->identity);
    else if (c->stage == STAGE_LOGIN)
        refuse_login(c, k->user, k->error.text);
    explicit_bzero(k->bytes, k->user.len + k->password.len);
    free(k);
    amqp_go_on(c);
}

static void check_on_pool(struct amqp_connection *c, const struct login *l)
{
    struct check *k = calloc(1, sizeof *k + l->user.len + l->password.len);
    if (!k) {
        amqp_drop(c, "there is no memory for a login");
        return;
    }
    memcpy(k->bytes, l->user.data, l->user.len);
    memcpy(k->bytes + l->user.len, l->password.data, l->password.len);
    k->user = bytes_of(k->bytes, l->user.len);
    k->password = bytes_of(k->bytes + l->user.len, l->password.len);
    k->work.run = run_check;
    k->work.done = finish_check;
    c->stage = STAGE_LOGIN;
    work_start(c, &k->work, true, &c->amqp->logins);
}

static bool is_guest(const struct login *l)
{
    return bytes_equal_text(l->user, "guest") && bytes_equal_text(l->password, "guest");
}

static void identify_certified(struct amqp_connection *c, const char *name)
{
    struct identity *i = access_vouched(c->amqp->context.access, beck_str(name));
    if (i)
        let_in(c, beck_str(name), i);
    else
        refuse_login(c, beck_str(name), "there is no user whom the certificate names");
}

/* guest with its well-known password is let in like one without a name, as long as there are no users. */
static void identify(struct amqp_connection *c, const struct login *l)
{
    struct access *access = c->amqp->context.access;
    struct access_peer peer = peer_of(c);
    struct identity *i;
    if (l->certified[0])
        identify_certified(c, l->certified);
    else if ((l->anonymous || is_guest(l)) && access_anonymous(access, &peer, &i, NULL) == BECK_OK)
        let_in(c, beck_str("guest"), i);
    else if (l->anonymous)
        refuse_login(c, beck_str(""), "nobody is let in without a name");
    else if (bytes_equal_text(l->user, "guest") && !peer.loopback)
        refuse_login(c, l->user, "guest can only log in from this machine");
    else if (access_password_known(access, l->user, l->password, &i))
        let_in(c, l->user, i);
    else
        check_on_pool(c, l);
}

static void start_ok(struct amqp_connection *c, const struct connection_start_ok *m)
{
    struct login l = {0};
    if (!keep_properties(c, m->client_properties)) {
        amqp_drop(c, "the client tells too much about itself");
        return;
    }
    enum reading how = read_login(c, m, &l);
    if (how == LOGIN_READ) {
        identify(c, &l);
        return;
    }
    amqp_log(c, AMQP_LOG_WARN, "an AMQP login was refused",
             how == LOGIN_UNKNOWN ? "the mechanism is none of those offered"
                                  : "the response is malformed");
    amqp_drop(c, "the login was refused");
}

/* ---- tune-ok ---- */

static bool is_within(struct amqp_connection *c, const char *field, uint64_t least, uint64_t most,
                      uint64_t asked)
{
    bool below = asked != 0 && asked < least;
    if (!below && asked != 0 && asked <= most)
        return true;
    amqp_refusef(c, REPLY_NOT_ALLOWED, METHOD_connection_tune,
                 "negotiated %s = %llu%s is %s than the %s allowed value (%llu)", field,
                 (unsigned long long)asked,
                 asked == 0 && strcmp(field, "channel_max") == 0 ? " (no limit)" : "",
                 below ? "lower" : "higher", below ? "minimum" : "maximum",
                 (unsigned long long)(below ? least : most));
    return false;
}

static void tune_ok(struct amqp_connection *c, const struct connection_tune_ok *m)
{
    const struct amqp_settings *s = &c->amqp->settings;
    if (!is_within(c, "frame_max", FRAME_MIN, s->frame_max, m->frame_max) ||
        !is_within(c, "channel_max", 1, s->channel_max, m->channel_max))
        return;
    mutex_lock(&c->amqp->lock);
    c->frame_max = (uint32_t)m->frame_max;
    c->channel_max = (uint32_t)m->channel_max;
    c->heartbeat_s = (uint32_t)m->heartbeat;
    mutex_unlock(&c->amqp->lock);
    c->stage = STAGE_OPEN;
}

/* ---- open ---- */

struct opening {
    struct work work;
    struct session *session;
    int code;
    char text[BROKER_TEXT];
    char vhost[256];
    size_t vhost_len;
};

static void run_opening(struct work *w)
{
    struct opening *o = (struct opening *)w;
    struct amqp_connection *c = w->c;
    struct session_options options = {
        .vhost = bytes_of(o->vhost, o->vhost_len),
        .user = c->user,
        .everything = identity_may(c->identity, ACCESS_ADMIN, ACCESS_SERVER, NULL),
        .connection = c->id};
    o->code = session_open(c->amqp->context.broker, &options, &o->session, o->text);
}

static void run(struct amqp_connection *c, const char *vhost)
{
    struct method m = {.id = METHOD_connection_open_ok};
    char *copy = strdup(vhost);
    mutex_lock(&c->amqp->lock);
    c->vhost = copy;
    mutex_unlock(&c->amqp->lock);
    m.connection_open_ok.known_hosts = beck_str("");
    amqp_send(c, 0, &m);
    c->stage = STAGE_RUNNING;
    atomic_store(&c->state_seen, SEEN_RUNNING);
    connection_established(c->net);
    amqp_next_tick(c);
    amqp_log(c, AMQP_LOG_INFO, "an AMQP connection was opened", vhost);
}

static void finish_opening(struct work *w)
{
    struct opening *o = (struct opening *)w;
    struct amqp_connection *c = w->c;
    if (o->code == 0)
        c->session = o->session; /* given up with the connection, whatever became of it */
    if (o->code && c->stage == STAGE_OPEN)
        amqp_refuse(c, o->code, o->text, METHOD_connection_open);
    else if (c->stage == STAGE_OPEN)
        run(c, o->vhost);
    free(o);
    amqp_go_on(c);
}

static void open_vhost(struct amqp_connection *c, const struct connection_open *m)
{
    struct opening *o = calloc(1, sizeof *o);
    if (!o) {
        amqp_drop(c, "there is no memory for a connection");
        return;
    }
    memcpy(o->vhost, m->virtual_host.data, m->virtual_host.len);
    o->vhost_len = m->virtual_host.len;
    o->work.run = run_opening;
    o->work.done = finish_opening;
    work_start(c, &o->work, true, &c->amqp->pool);
}

void handshake_method(struct amqp_connection *c, const struct method *m)
{
    if (c->stage == STAGE_START_OK && m->id == METHOD_connection_start_ok)
        start_ok(c, &m->connection_start_ok);
    else if (c->stage == STAGE_TUNE_OK && m->id == METHOD_connection_tune_ok)
        tune_ok(c, &m->connection_tune_ok);
    else if (c->stage == STAGE_OPEN && m->id == METHOD_connection_open)
        open_vhost(c, &m->connection_open);
    else
        amqp_refusef(c, REPLY_CHANNEL_ERROR, (uint32_t)m->id,
                     "unexpected method in connection state %s",
                     c->stage == STAGE_OPEN      ? "opening"
                     : c->stage == STAGE_TUNE_OK ? "tuning"
                                                 : "starting");
}

/* ---- a new secret ---- */

/* Permissions are looked up again. */
struct refresh {
    struct work work;
    int code;
    char text[BROKER_TEXT];
};

static void run_update(struct work *w)
{
    struct refresh *r = (struct refresh *)w;
    r->code = session_refresh(w->c->session, r->text);
}

static void new_secret_taken(struct amqp_connection *c)
{
    amqp_send(c, 0, &(struct method){.id = METHOD_connection_update_secret_ok});
    consumers_check(c);
}

static void finish_update(struct work *w)
{
    struct refresh *r = (struct refresh *)w;
    struct amqp_connection *c = w->c;
    if (r->code)
        amqp_refuse(c, r->code, r->text, METHOD_connection_update_secret);
    else if (c->stage == STAGE_RUNNING)
        new_secret_taken(c);
    free(r);
    amqp_go_on(c);
}

void handshake_update_secret(struct amqp_connection *c)
{
    struct refresh *r = calloc(1, sizeof *r);
    if (!r) {
        amqp_drop(c, "there is no memory for a method");
        return;
    }
    r->work.run = run_update;
    r->work.done = finish_update;
    work_start(c, &r->work, true, &c->amqp->pool);
}
