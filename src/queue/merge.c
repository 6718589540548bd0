/* Merging runs: the least of a few cursors again and again, so a scan is enough to find it. */
#include "queue/merge.h"

#include "base/error.h"
#include "queue/heap.h"

#include <assert.h>
#include <stdlib.h>

beck_status merge_open(struct merge *m, struct vfs *v, const char *dir, uint64_t id,
                       const struct run_cursor *const *inputs, size_t count, beck_error *err)
{
    *m = (struct merge){.id = id, .inputs = calloc(count, sizeof(struct run_cursor))};
    if (m->inputs == NULL)
        return error_set(err, BECK_ENOMEM, "no memory to merge a queue's schedule");
    for (size_t i = 0; i < count; i++) {
        run_cursor_begin(&m->inputs[i], v, dir, inputs[i]->id, inputs[i]->count, inputs[i]->next);
        m->total += inputs[i]->count - inputs[i]->next;
    }
    m->input_count = count;
    beck_status status = run_writer_open(&m->writer, v, dir, id, err);
    if (status != BECK_OK)
        merge_close(m);
    return status;
}

beck_status merge_step(struct merge *m, uint64_t upto, beck_error *err)
{
    assert(upto <= m->total);
    while (m->writer.count < upto) {
        struct run_cursor *least = NULL;
        for (size_t i = 0; i < m->input_count; i++) {
            struct run_cursor *c = &m->inputs[i];
            const struct scheduled *item;
            beck_status status = run_cursor_peek(c, &item, err);
            if (status == BECK_END)
                continue;
            if (status != BECK_OK)
                return status;
            if (least == NULL || scheduled_before(item, &least->item))
                least = c;
        }
        assert(least != NULL);
        beck_status status = run_writer_add(&m->writer, &least->item, err);
        if (status != BECK_OK)
            return status;
        run_cursor_skip(least);
    }
    return BECK_OK;
}

beck_status merge_finish(struct merge *m, beck_error *err)
{
    assert(merge_done(m) == m->total);
    return run_writer_finish(&m->writer, err);
}

void merge_close(struct merge *m)
{
    for (size_t i = 0; i < m->input_count; i++)
        run_cursor_end(&m->inputs[i]);
    free(m->inputs);
    run_writer_close(&m->writer);
    *m = (struct merge){0};
}
