/* CRC-32C (Castagnoli, reflected 0x82F63B78), as Kafka's record batches have it. */
#ifndef BECK_BASE_CRC32C_H
#define BECK_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at first) over the bytes. Uses the processor's instruction, several streams at
 * once for long inputs; a table elsewhere. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The table form, for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
