/*
 * Compression in the framings that Kafka's clients read and write.
 *
 *   gzip    members of RFC 1952, one behind the other
 *   snappy  "xerial": 82 'SNAPPY' 00 | version i32 | compatible version i32 | blocks: length i32,
 *           raw snappy of at most 32 KiB (big-endian numbers); or one raw block without any of that
 *   lz4     LZ4 frames; written with independent blocks of 64 KiB, without checksums of the content
 *   zstd    zstd frames
 *
 * The ceiling of the output buffer is what protects from inputs that blow up: output grows step by
 * step, and nothing is allocated because an input says that it will be large.
 */
#include "log/codec.h"

#include "base/error.h"

#include <assert.h>
#include <lz4.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define STEP 65536u /* output room is asked for in steps of this */
#define GZIP_WINDOW (15 + 16)
#define SNAPPY_BLOCK 32768
#define SNAPPY_RATIO_MAX 22 /* three bytes copy at most 64 */
#define XERIAL_HEADER 16
#define LZ4_BLOCK 65536
#define LZ4_RAW 0x80000000u
#define ZSTD_LEVEL 3

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

void codec_init(struct codec *c)
{
    memset(c, 0, sizeof *c);
}

void codec_release(struct codec *c)
{
    ZSTD_freeCCtx(c->zstd_out);
    ZSTD_freeDCtx(c->zstd_in);
    LZ4F_freeDecompressionContext(c->lz4_in);
    memset(c, 0, sizeof *c);
}

const char *codec_name(beck_codec kind)
{
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

    return (unsigned)kind < 5 ? names[kind] : "unknown";
}

static beck_status out_of_memory(beck_codec kind, beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory left for %s", codec_name(kind));
}

static beck_status too_large(const struct buf *out, beck_codec kind, beck_error *err)
{
    return error_set(err, BECK_ELIMIT, "%s data becomes larger than the %zu bytes allowed for it",
                     codec_name(kind), out->max);
}

static beck_status damaged(beck_codec kind, const char *what, beck_error *err)
{
    return error_set(err, BECK_ECORRUPT, "damaged %s data: %s", codec_name(kind), what);
}

/* Room for up to `want` bytes, as much as the ceiling leaves; *got is 0 at the ceiling. */
static beck_status room(struct buf *out, size_t want, size_t *got)
{
    size_t left = out->max - out->len;
    beck_status st;

    if (want > left)
        want = left;
    st = buf_reserve(out, want);
    if (st == BECK_OK)
        *got = want;
    return st;
}

/* Where a step of decompression writes. At the ceiling it is a single byte on the side: a stream
 * that ends there is whole, one that writes to it is too large. */
struct step {
    uint8_t *data;
    size_t len;
    uint8_t spill;
};

static beck_status step_begin(struct step *s, struct buf *out)
{
    beck_status st = room(out, STEP, &s->len);

    if (st != BECK_OK)
        return st;
    if (s->len == 0) {
        s->data = &s->spill;
        s->len = 1;
    } else {
        s->data = out->data + out->len;
    }
    return BECK_OK;
}

/* False: too large. */
static bool step_end(const struct step *s, struct buf *out, size_t written)
{
    if (s->data == &s->spill)
        return written == 0;
    out->len += written;
    return true;
}

/* ---- gzip ---- */

static beck_status gzip_compress(beck_bytes in, struct buf *out, beck_error *err)
{
    z_stream z = {0};
    size_t got = 0;
    int result;

    if (in.len > UINT32_MAX)
        return too_large(out, BECK_CODEC_GZIP, err);
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return out_of_memory(BECK_CODEC_GZIP, err);
    if (room(out, deflateBound(&z, in.len), &got) != BECK_OK) {
        deflateEnd(&z);
        return out_of_memory(BECK_CODEC_GZIP, err);
    }
    z.next_in = (z_const Bytef *)in.data;
    z.avail_in = (uInt)in.len;
    z.next_out = out->data + out->len;
    z.avail_out = (uInt)got;
    result = deflate(&z, Z_FINISH);
    if (result == Z_STREAM_END)
        out->len += got - z.avail_out;
    deflateEnd(&z);
    return result == Z_STREAM_END ? BECK_OK : too_large(out, BECK_CODEC_GZIP, err);
}

/* Inflates members until the input is used up. */
static beck_status inflate_all(z_stream *z, struct buf *out, beck_error *err)
{
    for (;;) {
        struct step s;
        int result;

        if (step_begin(&s, out) != BECK_OK)
            return out_of_memory(BECK_CODEC_GZIP, err);
        z->next_out = s.data;
        z->avail_out = (uInt)s.len;
        result = inflate(z, Z_NO_FLUSH);
        if (!step_end(&s, out, s.len - z->avail_out))
            return too_large(out, BECK_CODEC_GZIP, err);
        if (result == Z_STREAM_END) {
            if (z->avail_in == 0)
                return BECK_OK;
            inflateReset(z);
        } else if (result == Z_MEM_ERROR) {
            return out_of_memory(BECK_CODEC_GZIP, err);
        } else if (result != Z_OK) {
            return damaged(BECK_CODEC_GZIP, z->avail_in == 0 ? "it ends early" : "not gzip", err);
        } else if (z->avail_in == 0 && z->avail_out > 0) {
            return damaged(BECK_CODEC_GZIP, "it ends early", err);
        }
    }
}

static beck_status gzip_decompress(beck_bytes in, struct buf *out, beck_error *err)
{
    z_stream z = {.next_in = (z_const Bytef *)in.data, .avail_in = (uInt)in.len};
    beck_status st;

    if (in.len > UINT32_MAX)
        return too_large(out, BECK_CODEC_GZIP, err);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return out_of_memory(BECK_CODEC_GZIP, err);
    st = inflate_all(&z, out, err);
    inflateEnd(&z);
    return st;
}

/* ---- snappy ---- */

static beck_status snappy_fail(beck_status st, struct buf *out, beck_error *err)
{
    return st == BECK_ELIMIT ? too_large(out, BECK_CODEC_SNAPPY, err)
                             : out_of_memory(BECK_CODEC_SNAPPY, err);
}

static beck_status snappy_pack(beck_bytes in, struct buf *out, beck_error *err)
{
    const char *p = in.data;
    size_t left = in.len;
    beck_status st = buf_append(out, xerial_magic, sizeof xerial_magic);

    if (st == BECK_OK)
        st = buf_append(out, "\0\0\0\1\0\0\0\1", 8);
    while (st == BECK_OK && left > 0) {
        size_t n = left < SNAPPY_BLOCK ? left : SNAPPY_BLOCK;
        size_t packed = snappy_max_compressed_length(n);

        st = buf_reserve(out, 4 + packed);
        if (st != BECK_OK)
            break;
        if (snappy_compress(p, n, (char *)out->data + out->len + 4, &packed) != SNAPPY_OK)
            return out_of_memory(BECK_CODEC_SNAPPY, err);
        put_u32(out->data + out->len, (uint32_t)packed);
        out->len += 4 + packed;
        p += n;
        left -= n;
    }
    return st == BECK_OK ? BECK_OK : snappy_fail(st, out, err);
}

static beck_status snappy_unpack_block(beck_bytes in, struct buf *out, beck_error *err)
{
    size_t len;
    beck_status st;

    if (snappy_uncompressed_length(in.data, in.len, &len) != SNAPPY_OK)
        return damaged(BECK_CODEC_SNAPPY, "a block does not begin with its length", err);
    if (len / SNAPPY_RATIO_MAX > in.len)
        return damaged(BECK_CODEC_SNAPPY, "a block cannot become as large as it says", err);
    st = buf_reserve(out, len);
    if (st != BECK_OK)
        return snappy_fail(st, out, err);
    if (len == 0)
        return in.len == 1 ? BECK_OK
                           : damaged(BECK_CODEC_SNAPPY, "bytes are left behind a block", err);
    if (snappy_uncompress(in.data, in.len, (char *)out->data + out->len, &len) != SNAPPY_OK)
        return damaged(BECK_CODEC_SNAPPY, "a block cannot be read", err);
    out->len += len;
    return BECK_OK;
}

static beck_status snappy_unpack(beck_bytes in, struct buf *out, beck_error *err)
{
    const uint8_t *p = in.data;
    const uint8_t *end = p + in.len;

    if (in.len < XERIAL_HEADER || memcmp(p, xerial_magic, sizeof xerial_magic) != 0)
        return snappy_unpack_block(in, out, err);
    p += XERIAL_HEADER;
    while (p < end) {
        uint32_t n;
        beck_status st;

        if (end - p < 4 || (n = get_u32(p)) > (size_t)(end - p - 4))
            return damaged(BECK_CODEC_SNAPPY, "it ends early", err);
        st = snappy_unpack_block(bytes_of(p + 4, n), out, err);
        if (st != BECK_OK)
            return st;
        p += 4 + n;
    }
    return BECK_OK;
}

/* ---- lz4 ---- */

/* LZ4's frame has little-endian numbers. */
static void put_le32(uint8_t *p, uint32_t v)
{
    put_u32(p, __builtin_bswap32(v));
}

/*
 * The frame is written by hand, because LZ4F_compressFrame wants more room than the result needs:
 * magic, flags (version 1, independent blocks), block size 64 KiB, and the checksum of these two
 * bytes, which is a constant; then blocks, each behind its length; then an empty length.
 */
static beck_status lz4_pack(beck_bytes in, struct buf *out, beck_error *err)
{
    static const uint8_t header[7] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82};
    const char *p = in.data;
    size_t left = in.len;
    beck_status st = buf_append(out, header, sizeof header);

    while (st == BECK_OK && left > 0) {
        size_t n = left < LZ4_BLOCK ? left : LZ4_BLOCK;
        int packed;

        st = buf_reserve(out, 4 + n);
        if (st != BECK_OK)
            break;
        packed = LZ4_compress_default(p, (char *)out->data + out->len + 4, (int)n,
                                      n > 1 ? (int)n - 1 : 0);
        if (packed > 0) {
            put_le32(out->data + out->len, (uint32_t)packed);
            out->len += 4 + (size_t)packed;
        } else {
            put_le32(out->data + out->len, (uint32_t)n | LZ4_RAW);
            memcpy(out->data + out->len + 4, p, n);
            out->len += 4 + n;
        }
        p += n;
        left -= n;
    }
    if (st == BECK_OK)
        st = buf_append(out, "\0\0\0\0", 4);
    if (st == BECK_ELIMIT)
        return too_large(out, BECK_CODEC_LZ4, err);
    return st == BECK_OK ? BECK_OK : out_of_memory(BECK_CODEC_LZ4, err);
}

static beck_status lz4_unpack_all(LZ4F_dctx *d, beck_bytes in, struct buf *out, beck_error *err)
{
    const uint8_t *p = in.data;
    size_t left = in.len;

    for (;;) {
        struct step s;
        size_t used = left, written, wanted;

        if (step_begin(&s, out) != BECK_OK)
            return out_of_memory(BECK_CODEC_LZ4, err);
        written = s.len;
        wanted = LZ4F_decompress(d, s.data, &written, p, &used, NULL);
        if (LZ4F_isError(wanted))
            return damaged(BECK_CODEC_LZ4, LZ4F_getErrorName(wanted), err);
        if (!step_end(&s, out, written))
            return too_large(out, BECK_CODEC_LZ4, err);
        p += used;
        left -= used;
        if (left == 0 && wanted == 0)
            return BECK_OK;
        if (used == 0 && written == 0)
            return damaged(BECK_CODEC_LZ4, "it ends early", err);
    }
}

static beck_status lz4_unpack(struct codec *c, beck_bytes in, struct buf *out, beck_error *err)
{
    if (c->lz4_in == NULL) {
        LZ4F_dctx *d;

        if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
            return out_of_memory(BECK_CODEC_LZ4, err);
        c->lz4_in = d;
    }
    LZ4F_resetDecompressionContext(c->lz4_in);
    return lz4_unpack_all(c->lz4_in, in, out, err);
}

/* ---- zstd ---- */

static beck_status zstd_fail(size_t code, struct buf *out, beck_error *err)
{
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_dstSize_tooSmall:
        return too_large(out, BECK_CODEC_ZSTD, err);
    case ZSTD_error_memory_allocation:
        return out_of_memory(BECK_CODEC_ZSTD, err);
    default:
        return damaged(BECK_CODEC_ZSTD, ZSTD_getErrorName(code), err);
    }
}

static beck_status zstd_pack(struct codec *c, beck_bytes in, struct buf *out, beck_error *err)
{
    size_t got = 0, n;

    if (c->zstd_out == NULL && (c->zstd_out = ZSTD_createCCtx()) == NULL)
        return out_of_memory(BECK_CODEC_ZSTD, err);
    if (room(out, ZSTD_compressBound(in.len), &got) != BECK_OK)
        return out_of_memory(BECK_CODEC_ZSTD, err);
    n = ZSTD_compressCCtx(c->zstd_out, out->data + out->len, got, in.data, in.len, ZSTD_LEVEL);
    if (ZSTD_isError(n))
        return zstd_fail(n, out, err);
    out->len += n;
    return BECK_OK;
}

/* Whole frames into one piece of memory: so no window is allocated, whose size the input would
 * choose. The room is doubled until the output fits. */
static beck_status zstd_unpack(struct codec *c, beck_bytes in, struct buf *out, beck_error *err)
{
    size_t want = in.len > SIZE_MAX / 8 ? SIZE_MAX : in.len * 8 + STEP;

    if (c->zstd_in == NULL && (c->zstd_in = ZSTD_createDCtx()) == NULL)
        return out_of_memory(BECK_CODEC_ZSTD, err);
    for (;;) {
        size_t got = 0, n;

        if (room(out, want, &got) != BECK_OK)
            return out_of_memory(BECK_CODEC_ZSTD, err);
        n = ZSTD_decompressDCtx(c->zstd_in, out->data + out->len, got, in.data, in.len);
        if (!ZSTD_isError(n)) {
            out->len += n;
            return BECK_OK;
        }
        if (ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall || got < want)
            return zstd_fail(n, out, err);
        want *= 2;
    }
}

/* ---- doors ---- */

beck_status codec_compress(struct codec *c, beck_codec kind, beck_bytes in, struct buf *out,
                           beck_error *err)
{
    size_t before = out->len;
    beck_status st;

    switch (kind) {
    case BECK_CODEC_NONE:
        st = buf_append(out, in.data, in.len);
        if (st != BECK_OK)
            error_set(err, st, "no room for %zu bytes", in.len);
        break;
    case BECK_CODEC_GZIP:
        st = gzip_compress(in, out, err);
        break;
    case BECK_CODEC_SNAPPY:
        st = snappy_pack(in, out, err);
        break;
    case BECK_CODEC_LZ4:
        st = lz4_pack(in, out, err);
        break;
    case BECK_CODEC_ZSTD:
        st = zstd_pack(c, in, out, err);
        break;
    default:
        return error_set(err, BECK_EINVAL, "there is no codec %u", (unsigned)kind);
    }
    if (st != BECK_OK)
        out->len = before;
    return st;
}

beck_status codec_decompress(struct codec *c, beck_codec kind, beck_bytes in, struct buf *out,
                             beck_error *err)
{
    size_t before = out->len;
    beck_status st;

    if (kind != BECK_CODEC_NONE && in.len == 0)
        return damaged(kind, "it is empty", err);
    switch (kind) {
    case BECK_CODEC_NONE:
        st = buf_append(out, in.data, in.len);
        if (st != BECK_OK)
            error_set(err, st, "no room for %zu bytes", in.len);
        break;
    case BECK_CODEC_GZIP:
        st = gzip_decompress(in, out, err);
        break;
    case BECK_CODEC_SNAPPY:
        st = snappy_unpack(in, out, err);
        break;
    case BECK_CODEC_LZ4:
        st = lz4_unpack(c, in, out, err);
        break;
    case BECK_CODEC_ZSTD:
        st = zstd_unpack(c, in, out, err);
        break;
    default:
        return error_set(err, BECK_EINVAL, "there is no codec %u", (unsigned)kind);
    }
    if (st != BECK_OK)
        out->len = before;
    return st;
}
