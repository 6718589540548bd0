/*
 * Frames: type (1), channel (2), size of the payload (4), payload, 0xce.
 */
#ifndef BECK_WIRE_AMQP_FRAMES_H
#define BECK_WIRE_AMQP_FRAMES_H

#include "base/bytes.h"

#define FRAME_HEAD 7
#define FRAME_EXTRA 8 /* head and end */
#define FRAME_END 0xce
#define FRAME_MIN 4096 /* of frame_max */
#define FRAME_BEFORE_LOGIN 8192

enum frame_type { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };

struct frame {
    uint8_t type;
    uint16_t channel;
    beck_bytes payload;
};

enum frame_read {
    FRAME_WHOLE,
    FRAME_PART,      /* more is needed: *size bytes in all, 0: not known yet */
    FRAME_TOO_LARGE, /* of the payload: *size */
    FRAME_WRONG_END  /* out is set, payload has one byte more: the end */
};
/* frame_max: as was agreed; eight bytes more are tolerated. */
enum frame_read frame_read(beck_bytes input, uint32_t frame_max, struct frame *out, size_t *size);

static inline uint8_t *frame_begin(uint8_t *at, enum frame_type type, uint16_t channel, size_t size)
{
    at[0] = (uint8_t)type;
    put_u16(at + 1, channel);
    put_u32(at + 3, (uint32_t)size);
    return at + FRAME_HEAD;
}

#endif
