/* Windows over files of batches: see window.h. */
#include "log/window.h"

#include "base/crc32c.h"
#include "base/error.h"

void window_init(struct window *w, struct file *file, int64_t size)
{
    *w = (struct window){.file = file, .size = size};
    buf_init(&w->bytes, WINDOW_BATCH_MAX + BATCH_HEADER);
}

void window_release(struct window *w)
{
    buf_release(&w->bytes);
}

beck_status window_have(struct window *w, int64_t position, size_t len, bool *ok, beck_error *err)
{
    *ok = position + (int64_t)len <= w->size;
    if (!*ok)
        return BECK_OK;
    if (position >= w->at && position + (int64_t)len <= w->at + (int64_t)w->bytes.len)
        return BECK_OK;
    size_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
    if ((int64_t)want > w->size - position)
        want = (size_t)(w->size - position);
    buf_clear(&w->bytes);
    beck_status status = buf_reserve(&w->bytes, want);
    if (status)
        return error_set(err, status, "no memory to read a batch of %zu bytes", want);
    size_t got;
    status = file_read(w->file, w->bytes.data, want, position, &got, err);
    if (status)
        return status;
    w->at = position;
    w->bytes.len = got;
    *ok = got >= len;
    return BECK_OK;
}

beck_status window_copy(struct window *w, int64_t from, int64_t end, struct file *out, int64_t at,
                        uint32_t *crc, beck_error *err)
{
    beck_status status = BECK_OK;
    while (from < end && !status) {
        size_t len = end - from > WINDOW_BYTES ? WINDOW_BYTES : (size_t)(end - from);
        bool ok;
        status = window_have(w, from, len, &ok, err);
        if (!status && !ok)
            status = error_set(err, BECK_EIO, "a file became shorter while it was read");
        if (status)
            break;
        if (crc)
            *crc = crc32c(*crc, window_at(w, from), len);
        status = file_write(out, window_at(w, from), len, at, err);
        from += (int64_t)len;
        at += (int64_t)len;
    }
    return status;
}

beck_status window_header(struct window *w, int64_t position, int64_t next_offset,
                          struct batch_header *h, bool *valid, beck_error *why, beck_error *err)
{
    *valid = false;
    bool ok;
    beck_status status = window_have(w, position, BATCH_HEADER, &ok, err);
    if (status || !ok) {
        if (!status)
            error_set(why, BECK_ECORRUPT, "the file ends inside of a batch header");
        return status;
    }
    if (batch_header_read(window_at(w, position), h, why))
        return BECK_OK;
    if (batch_size(h) > WINDOW_BATCH_MAX || h->base_offset < next_offset)
        error_set(why, BECK_ECORRUPT, "offset %lld or length %d cannot be",
                  (long long)h->base_offset, h->length);
    else if (position + (int64_t)batch_size(h) > w->size)
        error_set(why, BECK_ECORRUPT, "the file ends inside of a batch of %zu bytes",
                  batch_size(h));
    else
        *valid = true;
    return BECK_OK;
}

beck_status window_batch(struct window *w, int64_t position, int64_t next_offset,
                         struct batch_header *h, bool *valid, beck_error *why, beck_error *err)
{
    bool ok;
    beck_status status = window_header(w, position, next_offset, h, valid, why, err);
    if (status || !*valid)
        return status;
    *valid = false;
    status = window_have(w, position, batch_size(h), &ok, err);
    if (status)
        return status;
    if (!ok) {
        error_set(why, BECK_ECORRUPT, "the file ends inside of a batch of %zu bytes",
                  batch_size(h));
        return BECK_OK;
    }
    *valid = batch_crc_fits(window_at(w, position), batch_size(h));
    if (!*valid)
        error_set(why, BECK_ECORRUPT, "the checksum does not fit");
    return BECK_OK;
}
