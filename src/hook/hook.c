/*
 * Hooks: their settings, checked and copied, and the dispatch to providers. What all providers do
 * with a request is in request.c, what they do with an event in draft.c; each provider is a file
 * with a `struct provider`.
 */
#include "base/error.h"
#include "hook/hook_impl.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <strings.h>

#define BODY_MAX (1 << 20)
#define DEDUP_WINDOW_MS (24 * 3600 * 1000LL)
#define SECRET_LEN_MAX 1024
#define STRINGS_MAX (16 + 2 * HOOK_LIST_MAX + 4)

static const struct provider *const providers[HOOK_PROVIDERS] = {
    [HOOK_GITHUB] = &provider_github,
    [HOOK_STRIPE] = &provider_stripe,
    [HOOK_PAYPAL] = &provider_paypal,
    [HOOK_LIQPAY] = &provider_liqpay,
    [HOOK_SLACK] = &provider_slack,
    [HOOK_SHOPIFY] = &provider_shopify,
    [HOOK_STANDARD] = &provider_standard,
    [HOOK_HMAC] = &provider_hmac,
    [HOOK_CLOUDEVENTS] = &provider_cloudevents,
    [HOOK_WEBSUB] = &provider_websub,
    [HOOK_NONE] = &provider_none,
};

static const char *const digest_names[] = {
    [HOOK_DIGEST_DEFAULT] = "default", [HOOK_SHA1] = "sha1",     [HOOK_SHA256] = "sha256",
    [HOOK_SHA384] = "sha384",          [HOOK_SHA512] = "sha512", [HOOK_SHA3_256] = "sha3-256",
};
#define DIGESTS (sizeof digest_names / sizeof digest_names[0])

static const char *const reason_names[HOOK_REASONS] = {
    [HOOK_FINE] = "fine",
    [HOOK_BAD_SIGNATURE] = "bad_signature",
    [HOOK_MISSING_HEADER] = "missing_header",
    [HOOK_MISSING_FIELD] = "missing_field",
    [HOOK_BAD_HEADER] = "bad_header",
    [HOOK_TOO_OLD] = "too_old",
    [HOOK_TOO_NEW] = "too_new",
    [HOOK_BAD_CERT_URL] = "bad_cert_url",
    [HOOK_BAD_CERT] = "bad_cert",
    [HOOK_NO_CERT] = "no_cert",
    [HOOK_BAD_ALGORITHM] = "bad_algorithm",
    [HOOK_BAD_TOKEN] = "bad_token",
    [HOOK_BAD_BODY] = "bad_body",
    [HOOK_BAD_METHOD] = "bad_method",
    [HOOK_TOO_LARGE] = "too_large",
    [HOOK_NO_MEMORY] = "no_memory",
};

const char *hook_provider_name(enum hook_provider provider)
{
    return (unsigned)provider < HOOK_PROVIDERS ? providers[provider]->name : NULL;
}

const char *hook_digest_name(enum hook_digest digest)
{
    return (unsigned)digest < DIGESTS ? digest_names[digest] : NULL;
}

const char *hook_reason_name(enum hook_reason reason)
{
    return (unsigned)reason < HOOK_REASONS ? reason_names[reason] : "?";
}

/* ---- settings ---- */

static beck_status no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory for a hook");
}

static bool copy_string(struct hook *h, const char **text)
{
    if (!*text)
        return true;
    char *copy = strdup(*text);
    if (!copy)
        return false;
    h->strings[h->string_count++] = copy;
    *text = copy;
    return true;
}

static bool copy_list(struct hook *h, const char *const **list, size_t count)
{
    if (count == 0) {
        *list = NULL;
        return true;
    }
    const char **copy = calloc(count, sizeof *copy);
    if (!copy)
        return false;
    h->strings[h->string_count++] = (char *)copy;
    for (size_t i = 0; i < count; i++) {
        copy[i] = (*list)[i];
        if (!copy_string(h, &copy[i]))
            return false;
    }
    *list = copy;
    return true;
}

static beck_status copy_settings(struct hook *h, beck_error *err)
{
    struct hook_source *s = &h->settings;
    const char **texts[] = {&s->name,         &s->bus,       &s->type_prefix, &s->source,
                            &s->header,       &s->prefix,    &s->type_from,   &s->id_from,
                            &s->subject_from, &s->time_from, &s->webhook_id,  &s->certificate};
    h->strings = calloc(STRINGS_MAX, sizeof *h->strings);
    bool good = h->strings != NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && good; i++)
        good = copy_string(h, texts[i]);
    good = good && copy_list(h, &s->allow_origins, s->allow_origin_count) &&
           copy_list(h, &s->topics, s->topic_count);
    for (size_t i = 0; i < s->secret_count && good; i++) {
        h->secrets[i] = strdup(s->secrets[i]);
        good = h->secrets[i] != NULL;
        h->secret_count += good;
    }
    s->secrets = NULL;
    return good ? BECK_OK : no_memory(err);
}

static bool name_is_legal(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len > 0 && len <= HOOK_NAME_MAX && name[len] == 0 && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static beck_status check_secrets(const struct hook_source *s, beck_error *err)
{
    if (s->secret_count > HOOK_SECRETS_MAX)
        return error_set(err, BECK_ELIMIT, "hook \"%s\" has %zu secrets; at most %d are allowed",
                         s->name, s->secret_count, HOOK_SECRETS_MAX);
    if (s->secret_count == 0 && providers[s->provider]->needs_secret)
        return error_set(err, BECK_EINVAL,
                         "hook \"%s\" has no secret; %s needs one: give \"secrets\"", s->name,
                         providers[s->provider]->name);
    for (size_t i = 0; i < s->secret_count; i++)
        if (!s->secrets[i] || !s->secrets[i][0] || strlen(s->secrets[i]) > SECRET_LEN_MAX)
            return error_set(err, BECK_EINVAL,
                             "secret %zu of hook \"%s\" is empty or longer than %d bytes", i + 1,
                             s->name, SECRET_LEN_MAX);
    return BECK_OK;
}

/* The prefix goes before words, so it must be words itself. */
static beck_status check_texts(const struct hook_source *s, beck_error *err)
{
    beck_error why;
    const char *words = s->type_prefix;
    if (words && words[0] && event_check_type_text(beck_str(words), &why))
        return error_set(err, BECK_EINVAL, "type_prefix of hook \"%s\" %s", s->name, why.text);
    if (words && strlen(words) > 128)
        return error_set(err, BECK_EINVAL,
                         "type_prefix of hook \"%s\" is longer than 128 bytes; give a shorter one",
                         s->name);
    if (s->source &&
        (!s->source[0] || event_check_text(beck_str(s->source), EVENT_ATTRIBUTE_MAX, &why)))
        return error_set(err, BECK_EINVAL, "source of hook \"%s\" %s", s->name,
                         s->source[0] ? why.text : "is empty; leave it out, or give a URI");
    return BECK_OK;
}

static beck_status check_settings(const struct hook_source *s, beck_error *err)
{
    if (!s->name || !name_is_legal(s->name))
        return error_set(err, BECK_EINVAL,
                         "\"%.100s\" is no name for a hook; use 1-%d of [A-Za-z0-9._-]",
                         s->name ? s->name : "", HOOK_NAME_MAX);
    if ((unsigned)s->provider >= HOOK_PROVIDERS)
        return error_set(err, BECK_EINVAL, "hook \"%s\" has no provider", s->name);
    if (!s->bus || !s->bus[0])
        return error_set(err, BECK_EINVAL, "hook \"%s\" has no bus; give \"bus\"", s->name);
    if ((unsigned)s->level > BECK_LEVEL_SYNCED)
        return error_set(err, BECK_EINVAL, "hook \"%s\" has no such level", s->name);
    if (s->tolerance_ms < -1 || s->dedup_window_ms < -1)
        return error_set(err, BECK_EINVAL,
                         "tolerance_ms and dedup_window_ms of hook \"%s\" are -1, 0, or a time",
                         s->name);
    if (s->allow_origin_count > HOOK_LIST_MAX || s->topic_count > HOOK_LIST_MAX)
        return error_set(err, BECK_ELIMIT, "hook \"%s\" has more than %d allow_origins or topics",
                         s->name, HOOK_LIST_MAX);
    beck_status status = check_secrets(s, err);
    return status ? status : check_texts(s, err);
}

static void fill_defaults(struct hook *h)
{
    struct hook_source *s = &h->settings;
    if (!s->type_prefix)
        s->type_prefix = h->provider->type_prefix;
    if (s->level == BECK_LEVEL_DEFAULT)
        s->level = BECK_LEVEL_SYNCED;
    if (s->tolerance_ms == 0)
        s->tolerance_ms = HOOK_TOLERANCE_MS;
    if (s->body_max == 0)
        s->body_max = h->provider->body_max ? h->provider->body_max : BODY_MAX;
    if (s->dedup_window_ms == 0)
        s->dedup_window_ms = DEDUP_WINDOW_MS;
}

beck_status hook_prepare_macs(struct hook *h, enum hook_digest digest, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < h->secret_count && !status; i++) {
        status = mac_init(&h->macs[i], digest, beck_str(h->secrets[i]), err);
        h->mac_count += !status;
    }
    return status;
}

static beck_status prepare_origin(struct hook *h, const char *name, const char *text,
                                  struct origin *out, beck_error *err)
{
    if (strncasecmp(text, "header:", 7) == 0 && text[7]) {
        out->header = text + 7;
        return BECK_OK;
    }
    if (field_from_pointer(text, &out->field))
        return BECK_OK;
    return error_set(err, BECK_EINVAL,
                     "%s of hook \"%s\" is \"%.100s\"; give \"header:NAME\", or \"/member/member\" "
                     "with at most %d members",
                     name, h->settings.name, text, FIELD_DEPTH_MAX);
}

beck_status hook_prepare_origins(struct hook *h, beck_error *err)
{
    static const char *const names[ORIGINS] = {"type_from", "id_from", "subject_from", "time_from"};
    const struct hook_source *s = &h->settings;
    const char *texts[ORIGINS] = {s->type_from, s->id_from, s->subject_from, s->time_from};
    beck_status status = BECK_OK;
    for (int i = 0; i < ORIGINS && !status; i++) {
        h->has_origin[i] = texts[i] != NULL;
        if (texts[i])
            status = prepare_origin(h, names[i], texts[i], &h->origins[i], err);
    }
    return status;
}

beck_status hook_new(const struct hook_source *source, struct certificates *certificates,
                     struct hook **out, beck_error *err)
{
    beck_status status = check_settings(source, err);
    if (status)
        return status;
    struct hook *h = calloc(1, sizeof *h);
    if (!h)
        return no_memory(err);
    h->settings = *source;
    h->provider = providers[source->provider];
    h->certificates = certificates;
    status = copy_settings(h, err);
    fill_defaults(h);
    if (!status)
        status = h->provider->prepare(h, err);
    if (status) {
        hook_free(h);
        return status;
    }
    *out = h;
    return BECK_OK;
}

void hook_free(struct hook *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->secret_count; i++) {
        OPENSSL_cleanse(h->secrets[i], strlen(h->secrets[i]));
        free(h->secrets[i]);
    }
    for (size_t i = 0; i < h->mac_count; i++)
        mac_release(&h->macs[i]);
    for (size_t i = 0; i < h->key_count; i++)
        EVP_PKEY_free(h->keys[i]);
    for (size_t i = 0; i < h->string_count; i++)
        free(h->strings[i]);
    free(h->strings);
    free(h);
}

const struct hook_source *hook_settings(const struct hook *h)
{
    return &h->settings;
}

/* ---- requests ---- */

static enum hook_outcome refuse_method(const struct hook *h, struct hook_result *out)
{
    answer_header(out, "Allow", h->provider->handshake ? "POST, GET, HEAD, OPTIONS" : "POST, HEAD");
    return refuse(out, HOOK_BAD_METHOD);
}

enum hook_outcome hook_receive(const struct hook *h, const struct hook_request *r,
                               struct hook_result *out)
{
    /* Not the memory. */
    memset(out, 0, offsetof(struct hook_result, memory));
    if (r->body.len > h->settings.body_max)
        return refuse(out, HOOK_TOO_LARGE);
    if (strcmp(r->method, "POST") == 0)
        return h->provider->receive(h, r, out);
    /* Whether there is anybody: some providers ask before they save an address. */
    if (strcmp(r->method, "HEAD") == 0)
        return answer(out, 200, bytes_of(NULL, 0));
    if (!h->provider->handshake ||
        (strcmp(r->method, "GET") != 0 && strcmp(r->method, "OPTIONS") != 0))
        return refuse_method(h, out);
    return h->provider->handshake(h, r, out);
}

void hook_result_release(struct hook_result *result)
{
    beck_document_free(result->document);
    free(result->decoded);
    result->document = NULL;
    result->decoded = NULL;
}
