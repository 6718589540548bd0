/*
 * Checkpoints: a few numbers per partition in a text file that is replaced as a whole.
 *
 *   0
 *   <number of entries>
 *   <topic> <partition> <offset>        one line each
 *
 * Every line ends with a newline; the last one may lack it. Entries are kept sorted, so that a
 * lookup halves them; a file that was written by us is read in linear time.
 */
#include "log/checkpoint.h"

#include "base/bytes.h"
#include "base/error.h"

#include <stdlib.h>

#define FILE_MAX (64u << 20)
#define BUS_NAME_MAX 249

void checkpoint_init(struct checkpoint *c)
{
    memset(c, 0, sizeof *c);
}

void checkpoint_release(struct checkpoint *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->entries[i].bus);
    free(c->entries);
    checkpoint_init(c);
}

static int compare(const struct checkpoint_entry *e, beck_bytes bus, uint32_t partition)
{
    int order = bytes_compare(beck_str(e->bus), bus);

    if (order != 0)
        return order;
    return e->partition < partition ? -1 : e->partition > partition;
}

/* The first entry that is not before bus and partition; *found: it is that very one. */
static size_t place_of(const struct checkpoint *c, beck_bytes bus, uint32_t partition, bool *found)
{
    size_t low = 0, high = c->count;
    int order = 1;

    *found = false;
    /* Most entries come in order. */
    if (high > 0 && compare(&c->entries[high - 1], bus, partition) < 0)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        order = compare(&c->entries[middle], bus, partition);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
        if (order == 0)
            *found = true;
    }
    return low;
}

static beck_status insert(struct checkpoint *c, size_t at, beck_bytes bus, uint32_t partition,
                          int64_t offset)
{
    char *name = malloc(bus.len + 1);

    if (name == NULL)
        return BECK_ENOMEM;
    memcpy(name, bus.data, bus.len);
    name[bus.len] = '\0';
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 16 : c->cap * 2;
        struct checkpoint_entry *entries = realloc(c->entries, cap * sizeof *entries);

        if (entries == NULL) {
            free(name);
            return BECK_ENOMEM;
        }
        c->entries = entries;
        c->cap = cap;
    }
    memmove(c->entries + at + 1, c->entries + at, (c->count - at) * sizeof *c->entries);
    c->entries[at] = (struct checkpoint_entry){name, partition, offset};
    c->count++;
    return BECK_OK;
}

beck_status checkpoint_set(struct checkpoint *c, const char *bus, uint32_t partition,
                           int64_t offset)
{
    bool found;
    size_t at = place_of(c, beck_str(bus), partition, &found);

    if (!found)
        return insert(c, at, beck_str(bus), partition, offset);
    c->entries[at].offset = offset;
    return BECK_OK;
}

bool checkpoint_get(const struct checkpoint *c, const char *bus, uint32_t partition,
                    int64_t *offset)
{
    bool found;
    size_t at = place_of(c, beck_str(bus), partition, &found);

    if (found)
        *offset = c->entries[at].offset;
    return found;
}

/* ---- reading ---- */

struct lines {
    const char *path;
    const char *at, *end;
    size_t number; /* of the line last taken, from 1 */
};

static beck_status damaged(const struct lines *l, const char *what, beck_error *err)
{
    return error_set(
        err, BECK_ECORRUPT,
        "line %zu of checkpoint '%s' is wrong: %s; remove it with beck verify --repair, it is made "
        "again",
        l->number, l->path, what);
}

static bool next_line(struct lines *l, beck_bytes *out)
{
    const char *newline;

    l->number++;
    if (l->at == l->end)
        return false;
    newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
    *out = bytes_of(l->at, (size_t)((newline != NULL ? newline : l->end) - l->at));
    l->at = newline != NULL ? newline + 1 : l->end;
    return true;
}

/* Takes the word up to the next space, or to the end, off the front of the line. */
static beck_bytes take_word(beck_bytes *line)
{
    const char *text = line->data;
    const char *space = line->len > 0 ? memchr(text, ' ', line->len) : NULL;
    beck_bytes word = bytes_of(text, space != NULL ? (size_t)(space - text) : line->len);
    size_t used = word.len + (space != NULL);

    *line = bytes_of(text + used, line->len - used);
    return word;
}

static beck_status read_entry(struct lines *l, beck_bytes line, struct checkpoint *out,
                              beck_error *err)
{
    beck_bytes bus = take_word(&line);
    beck_bytes partition_text = take_word(&line);
    uint64_t partition, offset;
    bool found;
    size_t at;

    if (bus.len == 0 || bus.len > BUS_NAME_MAX || memchr(bus.data, '\0', bus.len) != NULL)
        return damaged(l, "it does not begin with the name of a bus", err);
    if (!bytes_to_u64(partition_text, &partition) || partition > INT32_MAX)
        return damaged(l, "the second word is not the number of a partition", err);
    if (!bytes_to_u64(line, &offset) || offset > INT64_MAX)
        return damaged(l, "the third word is not an offset", err);
    at = place_of(out, bus, (uint32_t)partition, &found);
    if (found)
        return damaged(l, "bus and partition have been there before", err);
    if (insert(out, at, bus, (uint32_t)partition, (int64_t)offset) != BECK_OK)
        return error_set(err, BECK_ENOMEM, "no memory left for checkpoint '%s'", l->path);
    return BECK_OK;
}

static beck_status read_lines(struct lines *l, struct checkpoint *out, beck_error *err)
{
    beck_bytes line = {NULL, 0};
    uint64_t count;

    if (!next_line(l, &line) || !bytes_equal_text(line, "0"))
        return damaged(l, "it must be the version, 0", err);
    if (!next_line(l, &line) || !bytes_to_u64(line, &count))
        return damaged(l, "it must be the number of entries", err);
    for (uint64_t i = 0; i < count; i++) {
        beck_status st;

        if (!next_line(l, &line))
            return damaged(l, "the file ends before all of its entries", err);
        st = read_entry(l, line, out, err);
        if (st != BECK_OK)
            return st;
    }
    if (next_line(l, &line))
        return damaged(l, "there are more entries than the second line says", err);
    return BECK_OK;
}

beck_status checkpoint_read(struct vfs *v, const char *path, struct checkpoint *out,
                            beck_error *err)
{
    struct checkpoint read = {0};
    struct buf text;
    beck_status st = BECK_OK;

    if (vfs_exists(v, path)) {
        buf_init(&text, FILE_MAX);
        st = vfs_read_file(v, path, FILE_MAX, &text, err);
        if (st == BECK_OK) {
            const char *data = text.len > 0 ? (const char *)text.data : "";
            struct lines l = {.path = path, .at = data, .end = data + text.len};

            st = read_lines(&l, &read, err);
        }
        buf_release(&text);
    }
    if (st != BECK_OK) {
        checkpoint_release(&read);
        return st;
    }
    checkpoint_release(out);
    *out = read;
    return BECK_OK;
}

/* ---- writing ---- */

beck_status checkpoint_write(struct vfs *v, const char *path, const struct checkpoint *c,
                             beck_error *err)
{
    struct buf text;
    beck_status st;

    buf_init(&text, FILE_MAX);
    st = buf_printf(&text, "0\n%zu\n", c->count);
    for (size_t i = 0; st == BECK_OK && i < c->count; i++)
        st = buf_printf(&text, "%s %u %lld\n", c->entries[i].bus, c->entries[i].partition,
                        (long long)c->entries[i].offset);
    if (st == BECK_OK)
        st = vfs_write_file(v, path, buf_bytes(&text), err);
    else
        error_set(err, st, "no room for checkpoint '%s' of %zu entries", path, c->count);
    buf_release(&text);
    return st;
}
