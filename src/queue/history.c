/* Histories of failed events: see history.h. */
#include "queue/history.h"

#include "event/json.h"
#include "event/time.h"

#include <stdlib.h>

struct history {
    uint64_t where;
    uint32_t count;
    beck_bytes failures[HISTORY_FAILURES]; /* each owned */
};

static size_t slot_of(const struct histories *h, uint64_t where)
{
    size_t slot = (size_t)((where * 0x9e3779b97f4a7c15ull) >> 32) & (h->cap - 1);
    while (h->table[slot] && h->table[slot]->where != where)
        slot = (slot + 1) & (h->cap - 1);
    return slot;
}

static void free_history(struct histories *h, struct history *one)
{
    for (uint32_t i = 0; i < one->count; i++) {
        h->bytes -= one->failures[i].len;
        free((void *)one->failures[i].data);
    }
    h->bytes -= sizeof *one;
    free(one);
}

void histories_clear(struct histories *h)
{
    for (size_t i = 0; i < h->cap; i++) {
        if (h->table[i])
            free_history(h, h->table[i]);
        h->table[i] = NULL;
    }
    h->count = 0;
}

void histories_release(struct histories *h)
{
    histories_clear(h);
    free(h->table);
    *h = (struct histories){0};
}

beck_status history_format(struct buf *out, uint32_t attempt, int64_t time_ms, const char *why)
{
    char time[TIME_TEXT_MAX];
    time_format(time_ms * 1000000, time);
    beck_status status = buf_printf(out, "{\"attempt\":%u,\"time\":\"%s\",\"why\":", attempt, time);
    if (!status)
        status = json_write_string(out, beck_str(why && *why ? why : ""));
    if (!status)
        status = buf_append_text(out, "}");
    return status;
}

uint32_t history_attempt(beck_bytes failure)
{
    static const char before[] = "{\"attempt\":";
    const char *digits = (const char *)failure.data + sizeof before - 1;
    uint64_t attempt = 0;
    size_t count = 0;
    if (failure.len < sizeof before || memcmp(failure.data, before, sizeof before - 1) != 0)
        return 0;
    while (count < failure.len - (sizeof before - 1) && digits[count] >= '0' &&
           digits[count] <= '9')
        count++;
    return bytes_to_u64(bytes_of(digits, count), &attempt) && attempt <= UINT32_MAX
               ? (uint32_t)attempt
               : 0;
}

static bool grow(struct histories *h)
{
    struct histories bigger = {.cap = h->cap ? h->cap * 2 : 16};
    bigger.table = calloc(bigger.cap, sizeof(struct history *));
    if (!bigger.table)
        return false;
    for (size_t i = 0; i < h->cap; i++)
        if (h->table[i])
            bigger.table[slot_of(&bigger, h->table[i]->where)] = h->table[i];
    free(h->table);
    h->table = bigger.table;
    h->cap = bigger.cap;
    return true;
}

static struct history *find_or_make(struct histories *h, uint64_t where)
{
    if (h->count * 2 >= h->cap && !grow(h))
        return NULL;
    size_t slot = slot_of(h, where);
    if (!h->table[slot]) {
        h->table[slot] = calloc(1, sizeof(struct history));
        if (!h->table[slot])
            return NULL;
        h->table[slot]->where = where;
        h->count++;
        h->bytes += sizeof(struct history);
    }
    return h->table[slot];
}

void histories_add(struct histories *h, uint64_t where, beck_bytes failure)
{
    if (h->bytes + failure.len + sizeof(struct history) > HISTORIES_BYTES || !failure.len)
        return;
    struct history *one = find_or_make(h, where);
    void *copy = one ? malloc(failure.len) : NULL;
    if (!copy)
        return;
    memcpy(copy, failure.data, failure.len);
    if (one->count == HISTORY_FAILURES) {
        h->bytes -= one->failures[0].len;
        free((void *)one->failures[0].data);
        memmove(one->failures, one->failures + 1, (HISTORY_FAILURES - 1) * sizeof *one->failures);
        one->count--;
    }
    one->failures[one->count++] = bytes_of(copy, failure.len);
    h->bytes += failure.len;
}

beck_status histories_write(const struct histories *h, uint64_t where, struct buf *out)
{
    const struct history *one = h->cap ? h->table[slot_of(h, where)] : NULL;
    beck_status status = BECK_OK;
    for (uint32_t i = 0; one && i < one->count && !status; i++) {
        if (out->len > 0)
            status = buf_append_byte(out, ',');
        if (!status)
            status = buf_append(out, one->failures[i].data, one->failures[i].len);
    }
    return status;
}

beck_bytes history_last(beck_bytes objects)
{
    const char *data = objects.data;
    size_t begins[HISTORY_FAILURES] = {0};
    size_t count = 0;
    bool in_text = false;
    /* The objects are flat: outside of text a brace begins or ends one. */
    for (size_t i = 0; i < objects.len; i++) {
        if (in_text && data[i] == '\\')
            i++;
        else if (data[i] == '"')
            in_text = !in_text;
        else if (!in_text && data[i] == '{')
            begins[count++ % HISTORY_FAILURES] = i;
    }
    size_t from = count > HISTORY_FAILURES ? begins[count % HISTORY_FAILURES] : 0;
    return bytes_of(data ? data + from : NULL, objects.len - from);
}

void histories_remove(struct histories *h, uint64_t where)
{
    if (!h->count)
        return;
    size_t hole = slot_of(h, where), mask = h->cap - 1;
    if (!h->table[hole])
        return;
    free_history(h, h->table[hole]);
    h->table[hole] = NULL;
    h->count--;
    /* Those behind the hole that were pushed there move up. */
    for (size_t slot = (hole + 1) & mask; h->table[slot]; slot = (slot + 1) & mask) {
        struct history *one = h->table[slot];
        h->table[slot] = NULL;
        h->table[slot_of(h, one->where)] = one;
    }
}

beck_status histories_each(const struct histories *h,
                           beck_status (*each)(void *ctx, uint64_t where, beck_bytes failure),
                           void *ctx)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < h->cap; i++)
        for (uint32_t f = 0; h->table[i] && f < h->table[i]->count && !status; f++)
            status = each(ctx, h->table[i]->where, h->table[i]->failures[f]);
    return status;
}
