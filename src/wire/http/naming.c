/*
 * Who calls, and whether they may.
 *
 * A connection keeps the identity of its last request with the text of the header that proved it, so
 * that a client which sends the same again costs a comparison.
 */
#include "wire/http/http_impl.h"

#include "base/error.h"
#include "event/json.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define CREDENTIALS_MAX 4096
#define GUEST "guest" /* the user that AMQP's programs are by default */

static bool same_proof(const struct http_connection *c, const char *authorization)
{
    if (!c->authorization || !authorization)
        return c->authorization == authorization;
    return strcmp(c->authorization, authorization) == 0;
}

static void forget(struct http_connection *c)
{
    if (c->identity)
        identity_release(c->identity);
    c->identity = NULL;
    free(c->authorization);
    c->authorization = NULL;
}

static void remember(struct http_connection *c, struct identity *identity,
                     const char *authorization)
{
    forget(c);
    c->identity = identity;
    c->authorization = authorization ? strdup(authorization) : NULL;
    if (authorization && !c->authorization) /* cannot be compared: proved anew next time */
        c->authorization = strdup("");
}

static enum naming refuse(struct http_request *r, beck_status status, const beck_error *err,
                          int64_t retry_ms)
{
    if (status == BECK_ELIMIT) {
        http_set_header(r, "Retry-After",
                        request_text(r, "%lld", (long long)((retry_ms + 999) / 1000)));
        http_fail(r, status, err);
    } else if (status == BECK_EDENIED) {
        const struct http_site *site = r->connection->served->site;
        http_set_header(
            r, "WWW-Authenticate",
            request_text(r, "Basic realm=\"%s\", charset=\"UTF-8\"", site ? site->realm : "beck"));
        if (!site)
            http_set_header(r, "WWW-Authenticate", "Bearer realm=\"beck\"");
        http_refuse(r, 401, "%s", err->text);
    } else {
        http_fail(r, status, err);
    }
    return NAMING_REFUSED;
}

/* Whether the Host header means this machine: "localhost", or a number of an address, with a port or
 * without. */
static bool is_local_host(const char *host)
{
    char name[64];
    struct in_addr v4;
    struct in6_addr v6;
    bool bracketed = host[0] == '[';
    size_t len = bracketed ? strcspn(host + 1, "]") : strcspn(host, ":");
    if (len >= sizeof name)
        return false;
    memcpy(name, host + bracketed, len);
    name[len] = 0;
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &v4) == 1 ||
           inet_pton(AF_INET6, name, &v6) == 1;
}

/* What a proxy writes that hands a request on. */
static bool is_handed_on(const struct http_request *r)
{
    static const char *const marks[] = {"X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (http_header(r, marks[i]))
            return true;
    return false;
}

/* As whom the peer asks: for whom a proxy on this machine does is not of this machine. */
static struct access_peer asker(const struct http_request *r)
{
    struct access_peer peer = *http_peer(r);
    if (strcmp(peer.address, "unix") != 0 && is_handed_on(r))
        peer.loopback = false;
    return peer;
}

/* Any page that somebody on this machine looks at can have the browser send requests here, so one
 * without a name must not come from a page of elsewhere: neither openly (Origin), nor by a name that
 * was made to mean this machine (Host). Nor from anybody for whom a proxy on this machine asks, unless other
 * machines need no name either. */
static bool is_of_elsewhere(const struct http_request *r)
{
    const char *host = http_header(r, "Host"), *origin = http_header(r, "Origin");
    const struct access_peer peer = asker(r);
    if (strcmp(peer.address, "unix") == 0) /* no browser gets there */
        return false;
    if (http_peer(r)->loopback && !peer.loopback && !access_is_open(http_of(r)->access))
        return true;
    if (origin) {
        const char *rest = strstr(origin, "://");
        return !host || !rest || strcasecmp(rest + 3, host) != 0 ||
               (peer.loopback && !is_local_host(host));
    }
    return peer.loopback && host && !is_local_host(host);
}

/* The password of "guest" is known to everybody, so that one is not for others: not for other machines, nor for
 * pages of theirs. */
static bool is_near(const struct http_request *r)
{
    return asker(r).loopback && !is_of_elsewhere(r);
}

/* Whom "guest" is while nobody needs a name. */
static bool name_guest(struct http_request *r, beck_bytes password, struct identity **out)
{
    const struct http_site *site = r->connection->served->site;
    const struct access_peer peer = asker(r);
    return site && site->named && bytes_equal_text(password, GUEST) && !is_of_elsewhere(r) &&
           access_anonymous(http_of(r)->access, &peer, out, NULL) == BECK_OK;
}

static enum naming name_by_password(struct http_request *r, const char *text, bool slow,
                                    struct identity **out)
{
    struct access *access = http_of(r)->access;
    beck_error err = {0};
    uint8_t credentials[CREDENTIALS_MAX];
    beck_bytes encoded = beck_str(text);
    size_t len = 0;
    const uint8_t *colon = NULL;
    if (encoded.len <= sizeof credentials && base64_read_to(encoded, credentials, &len))
        colon = memchr(credentials, ':', len);
    if (!colon) {
        error_set(&err, BECK_EDENIED,
                  "the Authorization header is not \"Basic\" and base64 of user:password");
        return refuse(r, BECK_EDENIED, &err, 0);
    }
    size_t user_len = (size_t)(colon - credentials);
    beck_bytes user = bytes_of(credentials, user_len);
    beck_bytes password = bytes_of(colon + 1, len - user_len - 1);
    enum naming result = NAMING_DONE;
    if (bytes_equal_text(user, GUEST)) {
        bool named = name_guest(r, password, out);
        if (named || !is_near(r)) {
            explicit_bzero(credentials, sizeof credentials);
            error_set(&err, BECK_EDENIED,
                      "user \"" GUEST "\" can only log in from this machine's own programs");
            return named ? NAMING_DONE : refuse(r, BECK_EDENIED, &err, 0);
        }
    }
    if (!access_password_known(access, user, password, out)) {
        int64_t retry_ms = 0;
        beck_status status = BECK_OK;
        result = slow ? NAMING_DONE : NAMING_SLOW;
        if (slow)
            status =
                access_password(access, &r->connection->peer, user, password, out, &retry_ms, &err);
        if (status)
            result = refuse(r, status, &err, retry_ms);
    }
    explicit_bzero(credentials, sizeof credentials);
    return result;
}

/* What proves who calls: the header, or for clients that can set none the token in the query of a route that takes
 * one. */
static const char *proof_of(struct http_request *r)
{
    const char *header = http_header(r, "Authorization"), *token = http_query(r, "access_token");
    return header || !token ? header : request_text(r, "Bearer %s", token);
}

enum naming request_name(struct http_request *r, bool slow)
{
    struct http_connection *c = r->connection;
    const char *authorization = proof_of(r);
    bool named = c->served->site && c->served->site->named;
    bool foreign = !authorization && !named && is_of_elsewhere(r);
    if (!foreign && c->identity && same_proof(c, authorization) &&
        !identity_is_stale(c->identity)) {
        r->identity = c->identity;
        return NAMING_DONE;
    }
    struct access *access = http_of(r)->access;
    struct identity *identity = NULL;
    beck_error err = {0};
    int64_t retry_ms = 0;
    beck_status status = BECK_OK;
    if (foreign) {
        http_refuse(
            r, 403,
            "requests without a name are for this machine's own programs, not for pages of "
            "other hosts nor, without access.anonymous_remote, for those behind a proxy: use "
            "http://localhost, or make a user and send a password or token");
        return NAMING_REFUSED;
    }
    if (!authorization && named) {
        status = error_set(&err, BECK_EDENIED, "a name and password are needed");
    } else if (!authorization) {
        const struct access_peer peer = asker(r);
        status = access_anonymous(access, &peer, &identity, &err);
    } else if (strncasecmp(authorization, "Bearer ", 7) == 0) {
        status =
            access_token(access, &c->peer, beck_str(authorization + 7), &identity, &retry_ms, &err);
    } else if (strncasecmp(authorization, "Basic ", 6) == 0) {
        enum naming result = name_by_password(r, authorization + 6, slow, &identity);
        if (result != NAMING_DONE)
            return result;
    } else {
        status = error_set(&err, BECK_EDENIED,
                           "the Authorization header begins with neither \"Basic\" nor \"Bearer\"");
    }
    if (status)
        return refuse(r, status, &err, retry_ms);
    remember(c, identity, authorization);
    r->identity = identity;
    return NAMING_DONE;
}

static const char *right_name(enum access_right right)
{
    switch (right) {
    case ACCESS_PUBLISH:
        return "publish";
    case ACCESS_READ:
        return "read";
    case ACCESS_WORK:
        return "work";
    case ACCESS_CREATE:
        return "create";
    case ACCESS_DESCRIBE:
        return "describe";
    case ACCESS_ADMIN:
        break;
    }
    return "admin";
}

bool http_require(struct http_request *r, enum access_right right, enum access_kind kind,
                  const char *name)
{
    if (r->identity && identity_may(r->identity, right, kind, name))
        return true;
    const char *who = r->identity ? identity_name(r->identity) : "";
    const char *what = kind == ACCESS_BUS ? "bus" : kind == ACCESS_QUEUE ? "queue" : "the server";
    http_refuse(r, 403, "%s%s%s has not the right \"%s\" on %s%s%.250s%s; an admin can give it",
                *who ? "user \"" : "who calls without a name", who, *who ? "\"" : "",
                right_name(right), what, kind == ACCESS_SERVER ? "" : " \"",
                kind == ACCESS_SERVER ? "" : name, kind == ACCESS_SERVER ? "" : "\"");
    return false;
}

bool request_authorize(struct http_request *r)
{
    const struct http_route *route = r->route;
    if (route->right == 0 || route->right == HTTP_NAMED)
        return true;
    if ((route->right & HTTP_MONITORING) && r->identity &&
        identity_has_tag(r->identity, "monitoring"))
        return true;
    const char *name = route->kind == ACCESS_SERVER ? NULL : http_path(r, 0);
    return http_require(r, (enum access_right)(route->right & ~HTTP_MONITORING), route->kind, name);
}
