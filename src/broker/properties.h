/*
 * Properties of AMQP's messages: the bytes behind the body size of a content header (flags and list). They are kept and
 * given back byte for byte; what is read out of them are slices.
 */
#ifndef BECK_BROKER_PROPERTIES_H
#define BECK_BROKER_PROPERTIES_H

#include "base/bytes.h"

enum property_flag {
    PROPERTY_CONTENT_TYPE = 0x8000,
    PROPERTY_CONTENT_ENCODING = 0x4000,
    PROPERTY_HEADERS = 0x2000,
    PROPERTY_DELIVERY_MODE = 0x1000,
    PROPERTY_PRIORITY = 0x0800,
    PROPERTY_CORRELATION_ID = 0x0400,
    PROPERTY_REPLY_TO = 0x0200,
    PROPERTY_EXPIRATION = 0x0100,
    PROPERTY_MESSAGE_ID = 0x0080,
    PROPERTY_TIMESTAMP = 0x0040,
    PROPERTY_TYPE = 0x0020,
    PROPERTY_USER_ID = 0x0010,
    PROPERTY_APP_ID = 0x0008,
    PROPERTY_CLUSTER_ID = 0x0004
};

struct properties {
    uint16_t flags; /* which of the following are there */
    uint8_t delivery_mode, priority;
    uint64_t timestamp; /* seconds */
    beck_bytes content_type, content_encoding, correlation_id, reply_to, expiration, message_id,
        type, user_id, app_id, cluster_id;
    beck_bytes headers; /* a table, checked */
};

/* raw: flags and list. BECK_EINVAL: malformed. The usual ones (no headers) take some nanoseconds. */
beck_status properties_read(beck_bytes raw, struct properties *out, beck_error *err);
beck_status properties_write(struct buf *out, const struct properties *p);

#endif
