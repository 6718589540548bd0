/* What providers share: seen by src/hook only. */
#ifndef BECK_HOOK_HOOK_IMPL_H
#define BECK_HOOK_HOOK_IMPL_H

#include "hook/fields.h"
#include "hook/hook.h"
#include "hook/mac.h"

#define HOOK_SIGNATURES_MAX 16 /* in one header; more are not looked at */
#define HOOK_TOLERANCE_MS (5 * 60 * 1000)

struct provider {
    const char *name;
    const char *type_prefix; /* "": none */
    uint64_t body_max;
    bool needs_secret;
    /* Checks the settings that are the provider's own, and makes keys of the secrets. */
    beck_status (*prepare)(struct hook *h, beck_error *err);
    /* A POST. Sets `out` as hook_receive does. */
    enum hook_outcome (*receive)(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out);
    /* GET and OPTIONS; NULL: neither is known. */
    enum hook_outcome (*handshake)(const struct hook *h, const struct hook_request *r,
                                   struct hook_result *out);
};

/* Where an attribute is taken from, by setting. */
struct origin {
    const char *header; /* NULL: a field of the body */
    struct field field;
};

enum { ORIGIN_TYPE, ORIGIN_ID, ORIGIN_SUBJECT, ORIGIN_TIME, ORIGINS };

struct hook {
    struct hook_source settings;
    const struct provider *provider;
    char *secrets[HOOK_SECRETS_MAX];
    size_t secret_count;
    struct mac macs[HOOK_SECRETS_MAX];
    size_t mac_count;
    struct evp_pkey_st *keys[HOOK_SECRETS_MAX]; /* public ones */
    size_t key_count;
    struct origin origins[ORIGINS];
    bool has_origin[ORIGINS];
    struct certificates *certificates;
    char **strings; /* copies of what the settings point to */
    size_t string_count;
};

extern const struct provider provider_github, provider_stripe, provider_paypal, provider_liqpay,
    provider_slack, provider_shopify, provider_standard, provider_hmac, provider_cloudevents,
    provider_websub, provider_none;

/* ---- preparing ---- */

/* A MAC for every secret. */
beck_status hook_prepare_macs(struct hook *h, enum hook_digest digest, beck_error *err);
/* type_from, id_from, subject_from, time_from. */
beck_status hook_prepare_origins(struct hook *h, beck_error *err);

/* ---- requests ---- */

/* The value of a header that must be there once; may be empty. */
enum hook_reason request_header(const struct hook_request *r, const char *name, const char **out);
/* The first value; NULL: none. */
const char *request_find(const struct hook_request *r, const char *name);
/* Whether the content type is this one; parameters are ignored. */
bool request_is(const struct hook_request *r, const char *content_type);

/* Seconds since 1970 in decimal, within the tolerance of the settings. past_only: one in the future
 * is good. `out` may be NULL. */
enum hook_reason stamp_check(const struct hook *h, const char *text, size_t len, int64_t now_ns,
                             bool past_only, int64_t *out);

/* Whether any of the given texts is the MAC of the parts under any of the secrets. */
bool signature_matches(const struct hook *h, const beck_bytes *parts, size_t part_count,
                       enum hook_encoding encoding, const beck_bytes *given, size_t given_count);

/* ---- results ---- */

enum hook_outcome refuse(struct hook_result *out, enum hook_reason reason);
enum hook_outcome answer(struct hook_result *out, int status, beck_bytes body);
void answer_header(struct hook_result *out, const char *name, const char *value);

/* A copy in the result's memory, NUL-terminated; absent when it is too long or memory is used up. */
beck_bytes result_keep(struct hook_result *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "<base>/<tail>", or the base alone without a tail; absent when it cannot be an attribute. */
beck_bytes result_url(struct hook_result *out, const char *base, beck_bytes tail);
/* The text of a field: of a string its characters, of numbers and booleans their letters; absent
 * when the field is, or when it cannot be an attribute. */
beck_bytes result_text(struct hook_result *out, const struct field *f);
/* What may be an attribute, else absent. */
beck_bytes attribute_or_none(beck_bytes text);
beck_bytes attribute_of(const char *text); /* NULL is absent */

/* An event of the request: body and content type, source by the settings, extension "hook". */
void draft_begin(const struct hook *h, const struct hook_request *r, struct hook_result *out);
/* <prefix>.<word>.<word>: lower case, each character that is no letter, digit, "_" or "-" becomes
 * "_", "/" and ":" a dot. Absent words are left out; `otherwise` stands for all when all are. */
void draft_type(const struct hook *h, struct hook_result *out, beck_bytes first, beck_bytes second,
                const char *otherwise);
/* The source, unless the settings say one. */
void draft_source(struct hook_result *out, beck_bytes source);
/* Nothing when the value is absent or cannot be one. */
void draft_extension(struct hook_result *out, const char *name, beck_bytes value);
/* data becomes the text of a field of the form, which is JSON; false: there is none. */
bool draft_unwrap_form(struct hook_result *out, const char *field, bool base64);
enum hook_outcome draft_end(struct hook_result *out);

/* Seconds or (from 10^11 on) milliseconds since 1970, or RFC 3339, in ns; 0: none of them. */
int64_t moment_of(beck_bytes text);
/* Attributes by type_from and the others; those that are not set, or give nothing, stay. */
void draft_origins(const struct hook *h, const struct hook_request *r, struct hook_result *out);

/* The OPTIONS handshake of the CloudEvents webhook specification. */
enum hook_outcome consent(const struct hook *h, const struct hook_request *r,
                          struct hook_result *out);
/* Whether the request is a CloudEvent in any mode, and the events of it. */
bool cloudevents_is(const struct hook_request *r);
enum hook_outcome cloudevents_read(const struct hook_request *r, struct hook_result *out);

#endif
