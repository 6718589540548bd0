/*
 * Webhooks: from a request of a provider to events that may be published, or a reason to refuse it.
 *
 * There is no server here: a hook is made once from its settings and is then a function of method,
 * query, headers, raw body and time. It keeps nothing of a request. Signatures are computed over
 * the bytes as they came and compared in constant time; nothing of a body is read before its
 * signature was found right. What each provider signs and which attributes an event gets is said in
 * docs/webhooks.md, and at the head of the provider's file.
 *
 * Threads: a hook does not change; any number of threads may use it. Nothing here blocks, except
 * hook_receive with may_block (PayPal, when a certificate has to be fetched).
 */
#ifndef BECK_HOOK_HOOK_H
#define BECK_HOOK_HOOK_H

#include "event/event.h"

#define HOOK_NAME_MAX 64
#define HOOK_SECRETS_MAX 8
#define HOOK_LIST_MAX 32   /* allow_origins, topics */
#define HOOK_HEADERS_MAX 6 /* of an answer */

enum hook_provider {
    HOOK_GITHUB,
    HOOK_STRIPE,
    HOOK_PAYPAL,
    HOOK_LIQPAY,
    HOOK_SLACK,
    HOOK_SHOPIFY,
    HOOK_STANDARD,    /* Standard Webhooks: HMAC (whsec_) and Ed25519 (whpk_) */
    HOOK_HMAC,        /* a header with an HMAC of the body */
    HOOK_CLOUDEVENTS, /* CloudEvents over HTTP with a token, and the handshake of its webhook spec */
    HOOK_WEBSUB,      /* W3C WebSub: a hub's deliveries */
    HOOK_NONE,        /* nothing is verified */
    HOOK_PROVIDERS
};

enum hook_digest {
    HOOK_DIGEST_DEFAULT,
    HOOK_SHA1,
    HOOK_SHA256,
    HOOK_SHA384,
    HOOK_SHA512,
    HOOK_SHA3_256
};
enum hook_encoding { HOOK_HEX, HOOK_BASE64 };

/* "github", "stripe" ... and "sha256" ...; NULL: no such number. */
const char *hook_provider_name(enum hook_provider provider);
const char *hook_digest_name(enum hook_digest digest);

/* One source of webhooks, as it is configured. Zero (NULL) means the default. Everything is copied
 * by hook_new. */
struct hook_source {
    const char *name; /* /hooks/{name}: 1-64 of [A-Za-z0-9._-] */
    enum hook_provider provider;
    /* Any one of them may have signed: the new and the old secret while one is being changed. Needed
     * by all but paypal and none. */
    const char *const *secrets;
    size_t secret_count;
    const char *bus;  /* made when missing, with dedup_window_ms */
    beck_level level; /* when an answer may say that it was taken; default synced */
    /* What types of events begin with: "com.github" ... by default; nothing by default for standard,
     * hmac, cloudevents (where none is added in any case), websub and none. */
    const char *type_prefix;
    const char *source;   /* of events, instead of what the provider's fields say */
    int64_t tolerance_ms; /* age that a time stamp may have (stripe, slack, standard); 0: 5 minutes;
                             -1: any */
    uint64_t body_max;    /* 0: 25 MiB for github, else 1 MiB */
    /* Within it a delivery that comes again is answered as the first, without a second event; 0: a
     * day; -1: none. The bus's own window does it when the bus has one, and lasts over a restart;
     * else one in memory does. */
    int64_t dedup_window_ms;

    /* hmac */
    const char *header;          /* that holds the signature */
    const char *prefix;          /* of the header's value, before the signature: "sha256=" */
    enum hook_digest digest;     /* default sha256; also of liqpay: default sha1 */
    enum hook_encoding encoding; /* default hex, lower case */
    /* hmac, standard, none: where an event's attributes come from: a JSON pointer into the body
     * ("/data/id"), or a header ("header:X-Event-Id"). */
    const char *type_from, *id_from, *subject_from, *time_from;
    /* standard */
    bool svix; /* svix-id, svix-timestamp and svix-signature are good too */
    /* paypal */
    const char *webhook_id;  /* as PayPal's dashboard shows it; needed */
    const char *certificate; /* path of the PEM that signs: nothing is fetched then */
    /* cloudevents, none: who is allowed in the OPTIONS handshake; "*": everybody; none by default */
    const char *const *allow_origins;
    size_t allow_origin_count;
    uint32_t rate_per_minute; /* that the handshake allows at most; 0: no limit */
    /* websub: topics that were subscribed to; others are not confirmed */
    const char *const *topics;
    size_t topic_count;
};

struct hook;
struct certificates; /* hook/certificates.h */

/* BECK_EINVAL, BECK_ELIMIT: what is wrong with the settings, naming the member. certificates: for
 * paypal, outlives the hook; NULL: none are fetched (enough to check settings). */
beck_status hook_new(const struct hook_source *source, struct certificates *certificates,
                     struct hook **out, beck_error *err);
void hook_free(struct hook *h); /* NULL allowed; secrets are wiped */
/* As given, with defaults filled in, and without the secrets (only their count). */
const struct hook_source *hook_settings(const struct hook *h);

/* ---- requests ---- */

struct hook_header {
    const char *name; /* compared without case */
    const char *value;
};

struct hook_request {
    const char *method;
    const struct hook_header *headers;
    size_t header_count;
    /* The decoded value of a query parameter, or NULL; ctx is query_ctx. NULL: there is no query. */
    const char *(*query)(void *ctx, const char *name);
    void *query_ctx;
    beck_bytes body;
    int64_t now_ns; /* since 1970 */
    bool may_block; /* on a thread that may wait for the network */
};

enum hook_outcome {
    HOOK_EVENTS,   /* verified: publish out->events, and answer once they are stored */
    HOOK_ANSWERED, /* a handshake: answer with status, headers and body; no event */
    HOOK_REFUSED,  /* answer with status and nothing else; reason is for the operator */
    HOOK_BLOCKS    /* call again with may_block */
};

enum hook_reason {
    HOOK_FINE,
    HOOK_BAD_SIGNATURE,
    HOOK_MISSING_HEADER,
    HOOK_MISSING_FIELD, /* of a form */
    HOOK_BAD_HEADER,    /* comes twice, or is not of its form */
    HOOK_TOO_OLD,
    HOOK_TOO_NEW,
    HOOK_BAD_CERT_URL,
    HOOK_BAD_CERT, /* is not the provider's */
    HOOK_NO_CERT,  /* could not be had: 503, so that the provider tries again */
    HOOK_BAD_ALGORITHM,
    HOOK_BAD_TOKEN,
    HOOK_BAD_BODY,   /* verified, but no event can be made of it (400) */
    HOOK_BAD_METHOD, /* 405 */
    HOOK_TOO_LARGE,  /* 413 */
    HOOK_NO_MEMORY,  /* 503 */
    HOOK_REASONS
};

/* "bad_signature" ...; never NULL. */
const char *hook_reason_name(enum hook_reason reason);

struct hook_result {
    enum hook_reason reason;
    int status; /* of HOOK_ANSWERED and HOOK_REFUSED */
    struct hook_header headers[HOOK_HEADERS_MAX];
    size_t header_count;
    beck_bytes body; /* of the answer: text/plain */

    const beck_event *events;
    size_t event_count;

    /* What the events refer to, beside the request. */
    beck_event event;
    beck_attribute extensions[EVENT_EXTENSIONS_MAX];
    beck_document *document;
    uint8_t *decoded; /* the JSON that was inside of a form, or attributes from headers */
    size_t used;
    uint8_t memory[6144];
};

/* Fills `out` in any case. Everything in it is valid until hook_result_release, as long as the
 * request and the hook live; a result must not be copied. */
enum hook_outcome hook_receive(const struct hook *h, const struct hook_request *r,
                               struct hook_result *out);
void hook_result_release(struct hook_result *result);

#endif
