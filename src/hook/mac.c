/* HMAC (RFC 2104) over OpenSSL's digests: see mac.h. */
#include "hook/mac.h"
#include "base/error.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define BLOCK_MAX 144 /* SHA-3 has the largest ones */

static const EVP_MD *md_of(enum hook_digest digest)
{
    switch (digest) {
    case HOOK_SHA1:
        return EVP_sha1();
    case HOOK_SHA384:
        return EVP_sha384();
    case HOOK_SHA512:
        return EVP_sha512();
    case HOOK_SHA3_256:
        return EVP_sha3_256();
    case HOOK_DIGEST_DEFAULT:
    case HOOK_SHA256:
        break;
    }
    return EVP_sha256();
}

static EVP_MD_CTX *begin_padded(const EVP_MD *md, const uint8_t *key, size_t block, uint8_t pad)
{
    uint8_t padded[BLOCK_MAX];
    for (size_t i = 0; i < block; i++)
        padded[i] = key[i] ^ pad;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex(ctx, md, NULL) && EVP_DigestUpdate(ctx, padded, block);
    OPENSSL_cleanse(padded, sizeof padded);
    if (!good) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

beck_status mac_init(struct mac *m, enum hook_digest digest, beck_bytes key, beck_error *err)
{
    const EVP_MD *md = md_of(digest);
    size_t block = (size_t)EVP_MD_get_block_size(md);
    uint8_t block_key[BLOCK_MAX] = {0};
    unsigned hashed;
    *m = (struct mac){NULL, NULL};
    bool good = block <= sizeof block_key;
    if (good && key.len > block)
        good = EVP_Digest(key.data, key.len, block_key, &hashed, md, NULL) == 1;
    else if (good)
        memcpy(block_key, key.data, key.len);
    if (good) {
        m->inner = begin_padded(md, block_key, block, 0x36);
        m->outer = begin_padded(md, block_key, block, 0x5C);
    }
    OPENSSL_cleanse(block_key, sizeof block_key);
    if (m->inner && m->outer)
        return BECK_OK;
    mac_release(m);
    return error_set(err, BECK_ENOMEM, "no memory for the key of a hook");
}

void mac_release(struct mac *m)
{
    EVP_MD_CTX_free(m->inner); /* wipes what it holds */
    EVP_MD_CTX_free(m->outer);
    *m = (struct mac){NULL, NULL};
}

static bool update(EVP_MD_CTX *ctx, const beck_bytes *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!EVP_DigestUpdate(ctx, parts[i].data, parts[i].len))
            return false;
    return true;
}

size_t mac_run(const struct mac *m, const beck_bytes *parts, size_t count,
               uint8_t out[MAC_SIZE_MAX])
{
    unsigned len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_MD_CTX_copy_ex(ctx, m->inner) && update(ctx, parts, count) &&
                EVP_DigestFinal_ex(ctx, out, &len) && EVP_MD_CTX_copy_ex(ctx, m->outer) &&
                EVP_DigestUpdate(ctx, out, len) && EVP_DigestFinal_ex(ctx, out, &len);
    EVP_MD_CTX_free(ctx);
    return good ? len : 0;
}

size_t digest_run(enum hook_digest digest, const beck_bytes *parts, size_t count,
                  uint8_t out[MAC_SIZE_MAX])
{
    unsigned len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex(ctx, md_of(digest), NULL) && update(ctx, parts, count) &&
                EVP_DigestFinal_ex(ctx, out, &len);
    EVP_MD_CTX_free(ctx);
    return good ? len : 0;
}

size_t mac_text(const uint8_t *mac, size_t len, enum hook_encoding encoding, char out[MAC_TEXT_MAX])
{
    if (encoding == HOOK_BASE64)
        return (size_t)EVP_EncodeBlock((unsigned char *)out, mac, (int)len);
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[mac[i] >> 4];
        out[2 * i + 1] = digits[mac[i] & 15];
    }
    out[2 * len] = 0;
    return 2 * len;
}

bool same_secret(beck_bytes a, beck_bytes b)
{
    return a.len == b.len && CRYPTO_memcmp(a.data, b.data, a.len) == 0;
}
