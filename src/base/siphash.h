/*
 * SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): who does not know the seed cannot
 * bring two texts to the same value. For where a value stands for its text; tables that compare the
 * text use bytes_hash, which is several times as fast.
 */
#ifndef BECK_BASE_SIPHASH_H
#define BECK_BASE_SIPHASH_H

#include "base/bytes.h"

void siphash(const uint64_t seed[2], beck_bytes in, uint64_t out[2]);

#endif
