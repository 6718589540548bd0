/*
 * Certificates behind addresses: a small table of keys, and the check of what was fetched. See
 * certificates.h.
 */
#include "hook/certificates.h"
#include "base/error.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES_MAX 16
#define URL_MAX 512
#define PEM_MAX 65536
#define CHAIN_MAX 8
#define KEEP_NS (24 * 3600 * 1000000000LL)
#define RETRY_NS (60 * 1000000000LL)

struct entry {
    char url[URL_MAX];
    EVP_PKEY *key; /* NULL: it could not be had */
    bool denied;   /* it was had, and is not good */
    int64_t fetched_ns;
};

struct certificates {
    certificates_fetch_fn fetch;
    void *fetch_ctx;
    char *owner, *trust_file;
    struct mutex lock;
    struct entry *entries[ENTRIES_MAX];
    bool fetching;
    X509_STORE *store; /* of trusted roots; made at the first use */
};

beck_status certificates_new(const struct certificates_options *options, struct certificates **out,
                             beck_error *err)
{
    static const struct certificates_options defaults;
    const struct certificates_options *o = options ? options : &defaults;
    struct certificates *c = calloc(1, sizeof *c);
    if (c) {
        mutex_init(&c->lock);
        c->fetch = o->fetch ? o->fetch : certificates_fetch_https;
        c->fetch_ctx = o->fetch_ctx;
        c->owner = strdup(o->owner ? o->owner : "paypal.com");
        c->trust_file = o->trust_file ? strdup(o->trust_file) : NULL;
    }
    if (!c || !c->owner || (o->trust_file && !c->trust_file)) {
        certificates_free(c);
        return error_set(err, BECK_ENOMEM, "no memory for certificates");
    }
    *out = c;
    return BECK_OK;
}

static void entry_free(struct entry *e)
{
    if (e)
        EVP_PKEY_free(e->key);
    free(e);
}

void certificates_free(struct certificates *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        entry_free(c->entries[i]);
    X509_STORE_free(c->store);
    mutex_release(&c->lock);
    free(c->owner);
    free(c->trust_file);
    free(c);
}

/* ---- addresses ---- */

static bool ends_in_domain(beck_bytes host, const char *domain)
{
    size_t len = strlen(domain);
    const char *text = host.data;
    if (host.len < len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[host.len - len + i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != domain[i])
            return false;
    }
    return host.len == len || text[host.len - len - 1] == '.';
}

bool certificates_url_is_allowed(beck_bytes url, const char *domain)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_~/";
    const char *text = url.data;
    if (url.len < 9 || url.len >= URL_MAX || memcmp(text, "https://", 8) != 0)
        return false;
    /* Neither user, port, query nor escapes: the host is what everybody takes it for. */
    for (size_t i = 8; i < url.len; i++)
        if (!text[i] || !strchr(plain, text[i]))
            return false;
    const char *slash = memchr(text + 8, '/', url.len - 8);
    if (!slash)
        return false;
    beck_bytes host = bytes_of(text + 8, (size_t)(slash - text) - 8);
    return !memmem(host.data, host.len, "..", 2) && text[8] != '.' && ends_in_domain(host, domain);
}

/* ---- what was fetched ---- */

static X509_STORE *open_store(const struct certificates *c)
{
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return NULL;
    int good = c->trust_file ? X509_STORE_load_file(store, c->trust_file)
                             : X509_STORE_set_default_paths(store);
    if (good == 1)
        return store;
    X509_STORE_free(store);
    return NULL;
}

static STACK_OF(X509) * read_chain(beck_bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    STACK_OF(X509) *chain = sk_X509_new_null();
    while (bio && chain && sk_X509_num(chain) < CHAIN_MAX) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!certificate)
            break;
        if (!sk_X509_push(chain, certificate)) {
            X509_free(certificate);
            break;
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return chain;
}

static bool is_of_owner(X509 *certificate, const char *owner)
{
    char below[260];
    int len = snprintf(below, sizeof below, ".%s", owner);
    if (len < 0 || (size_t)len >= sizeof below)
        return false;
    return X509_check_host(certificate, owner, 0, 0, NULL) == 1 ||
           X509_check_host(certificate, below, 0, 0, NULL) == 1;
}

static bool is_trusted(X509_STORE *store, STACK_OF(X509) * chain, int64_t now_ns)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool good = ctx && X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) == 1;
    if (good) {
        X509_STORE_CTX_set_time(ctx, 0, (time_t)(now_ns / 1000000000));
        good = X509_verify_cert(ctx) == 1;
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

/* The key of the first certificate; NULL: it is not good. */
static EVP_PKEY *check_chain(struct certificates *c, X509_STORE *store, beck_bytes pem,
                             int64_t now_ns)
{
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *chain = read_chain(pem);
    if (chain && sk_X509_num(chain) > 0) {
        X509 *leaf = sk_X509_value(chain, 0);
        if (is_of_owner(leaf, c->owner) && is_trusted(store, chain, now_ns))
            key = X509_get_pubkey(leaf);
    }
    sk_X509_pop_free(chain, X509_free);
    return key;
}

/* ---- the table ---- */

/* Whether the entry may still be used. */
static bool is_fresh(const struct entry *e, int64_t now_ns)
{
    int64_t age = now_ns - e->fetched_ns;
    return age >= 0 && age < (e->key ? KEEP_NS : RETRY_NS);
}

/* With the lock. */
static struct entry *find(struct certificates *c, const char *url, int64_t now_ns)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = c->entries[i];
        if (e && strcmp(e->url, url) == 0 && is_fresh(e, now_ns))
            return e;
    }
    return NULL;
}

/* In the place of what the same address gave before, of a free one, or of the oldest. With the
 * lock. */
static void put(struct certificates *c, struct entry *fresh)
{
    size_t at = 0;
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = c->entries[i];
        if (!e || strcmp(e->url, fresh->url) == 0) {
            at = i;
            break;
        }
        /* Addresses that give nothing must not drive out those that do. */
        bool worse = c->entries[at]->key && !e->key;
        bool same = !c->entries[at]->key == !e->key;
        if (worse || (same && e->fetched_ns < c->entries[at]->fetched_ns))
            at = i;
    }
    entry_free(c->entries[at]);
    c->entries[at] = fresh;
}

static beck_status say(const struct entry *e, EVP_PKEY **out)
{
    if (!e->key)
        return e->denied ? BECK_EDENIED : BECK_EIO;
    EVP_PKEY_up_ref(e->key);
    *out = e->key;
    return BECK_OK;
}

static beck_status fetch(struct certificates *c, struct entry *e, int64_t now_ns)
{
    struct buf pem;
    buf_init(&pem, PEM_MAX);
    mutex_lock(&c->lock);
    if (!c->store)
        c->store = open_store(c);
    X509_STORE *store = c->store;
    mutex_unlock(&c->lock);
    beck_status status = store ? c->fetch(c->fetch_ctx, e->url, PEM_MAX, &pem, NULL) : BECK_EIO;
    if (!status) {
        e->key = check_chain(c, store, buf_bytes(&pem), now_ns);
        e->denied = !e->key;
    }
    buf_release(&pem);
    return status;
}

static bool begin_fetching(struct certificates *c)
{
    mutex_lock(&c->lock);
    bool mine = !c->fetching;
    c->fetching = true;
    mutex_unlock(&c->lock);
    return mine;
}

beck_status certificates_get(struct certificates *c, const char *url, int64_t now_ns,
                             bool may_block, EVP_PKEY **out)
{
    assert(strlen(url) < URL_MAX);
    mutex_lock(&c->lock);
    struct entry *known = find(c, url, now_ns);
    beck_status status = known ? say(known, out) : BECK_ETIMEDOUT;
    mutex_unlock(&c->lock);
    if (known)
        return status;
    if (!may_block)
        return BECK_ETIMEDOUT;
    struct entry *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return BECK_ENOMEM;
    if (!begin_fetching(c)) {
        free(fresh);
        return BECK_EBUSY;
    }
    snprintf(fresh->url, sizeof fresh->url, "%s", url);
    fresh->fetched_ns = now_ns;
    status = fetch(c, fresh, now_ns);
    if (!status)
        status = say(fresh, out);
    mutex_lock(&c->lock);
    c->fetching = false;
    put(c, fresh);
    mutex_unlock(&c->lock);
    return status;
}

beck_status certificates_read_file(const char *path, EVP_PKEY **out, beck_error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_errno(err, errno, "the certificate \"%s\" cannot be opened", path);
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    ERR_clear_error();
    if (!key)
        return error_set(err, BECK_EINVAL, "\"%s\" holds no certificate in PEM form", path);
    *out = key;
    return BECK_OK;
}
