/* See text.h. */
#include "wire/management/text.h"

#include "event/json.h"

bool text_is_json(beck_bytes text)
{
    return json_check(text, NULL) == BECK_OK;
}

beck_status text_quote(struct buf *out, beck_bytes text)
{
    return json_write_string(out, text);
}

beck_status text_to_base64(struct buf *out, beck_bytes data)
{
    return base64_write(out, data);
}

bool text_from_base64(beck_bytes text, struct buf *out)
{
    return base64_read(text, out);
}
