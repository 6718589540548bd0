/*
 * The codecs of record batches, in the framings that Kafka's clients use: gzip (RFC 1952), snappy
 * (the "xerial" framing is read and written; bare snappy blocks are read too), LZ4 frame format,
 * zstd frames. Threads: a codec holds contexts that are costly to make; one thread at a time.
 */
#ifndef BECK_LOG_CODEC_H
#define BECK_LOG_CODEC_H

#include "base/bytes.h"

struct codec {
    void *zstd_out, *zstd_in; /* contexts, made on first use */
    void *lz4_in;
};

void codec_init(struct codec *c);
void codec_release(struct codec *c);

/* Both append to out. BECK_ENOMEM, BECK_ELIMIT (out's ceiling), BECK_ECORRUPT (decompression). */
beck_status codec_compress(struct codec *c, beck_codec kind, beck_bytes in, struct buf *out,
                           beck_error *err);
beck_status codec_decompress(struct codec *c, beck_codec kind, beck_bytes in, struct buf *out,
                             beck_error *err);

const char *codec_name(beck_codec kind); /* "none", "gzip" ... */

#endif
