#include "wire/amqp/frames.h"

enum frame_read frame_read(beck_bytes input, uint32_t frame_max, struct frame *out, size_t *size)
{
    const uint8_t *at = input.data;
    *size = 0;
    if (input.len < FRAME_HEAD)
        return FRAME_PART;
    size_t len = get_u32(at + 3);
    *out = (struct frame){at[0], get_u16(at + 1), bytes_of(at + FRAME_HEAD, len)};
    *size = len;
    if (len > frame_max)
        return FRAME_TOO_LARGE;
    *size = len + FRAME_EXTRA;
    if (input.len < *size)
        return FRAME_PART;
    if (at[FRAME_HEAD + len] != FRAME_END) {
        out->payload.len++;
        return FRAME_WRONG_END;
    }
    return FRAME_WHOLE;
}
