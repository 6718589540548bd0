/* What is used of event/json.h, whose names jansson has too. */
#ifndef BECK_WIRE_MANAGEMENT_TEXT_H
#define BECK_WIRE_MANAGEMENT_TEXT_H

#include "base/bytes.h"

bool text_is_json(beck_bytes text); /* one value, nested at most JSON_DEPTH_MAX times */
beck_status text_quote(struct buf *out, beck_bytes text); /* as a JSON string */
beck_status text_to_base64(struct buf *out, beck_bytes data);
bool text_from_base64(beck_bytes text, struct buf *out);

#endif
