/*
 * Who a partition is: the id of its topic, in Kafka's partition.metadata, and the file of leader epochs that Kafka's tools
 * want beside it.
 */
#include "log/partition_impl.h"

#include "base/uuid.h"
#include "event/json.h"

#include <stdio.h>

beck_status partition_read_id(struct vfs *v, const char *dir, uint8_t id[16], beck_error *err)
{
    static const char key[] = "topic_id: ";
    char path[4200], text[64 + 1] = "", base64[25] = "";
    uint8_t bytes[18];
    struct buf file;
    size_t len = sizeof bytes;
    snprintf(path, sizeof path, "%s/partition.metadata", dir);
    buf_init(&file, sizeof text - 1);
    beck_status status = vfs_read_file(v, path, file.max, &file, err);
    if (!status && file.len > 0)
        memcpy(text, file.data, file.len);
    buf_release(&file);
    if (status)
        return status;
    const char *at = strstr(text, key);
    if (at && sscanf(at + sizeof key - 1, "%22[A-Za-z0-9_-]", base64) == 1 &&
        strlen(base64) == 22) {
        for (char *c = base64; *c; c++)
            *c = (char)(*c == '-' ? '+' : *c == '_' ? '/' : *c);
        memcpy(base64 + 22, "==", 3);
        if (base64_read_to(beck_str(base64), bytes, &len) && len == 16) {
            memcpy(id, bytes, 16);
            return BECK_OK;
        }
    }
    return error_set(err, BECK_ENOENT, "\"%s\" holds no id", path);
}

static void id_text(const uint8_t id[16], char text[64])
{
    char base64[23];
    uuid_base64(id, base64);
    snprintf(text, 64, "version: 0\ntopic_id: %s\n", base64);
}

static const char first_epoch[] = "0\n1\n0 0\n";

/* Only Kafka's tools read it: not synced, and made again when it is lost with the power. */
static beck_status write_derived(struct partition *p, const char *name, const char *text,
                                 beck_error *err)
{
    char path[4200];
    struct file *f;
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    beck_status status =
        vfs_open(p->env->vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, err);
    if (status)
        return status;
    status = file_write(f, text, strlen(text), 0, err);
    file_close(f);
    return status;
}

void partition_choose_id(struct partition *p)
{
    if (p->options.id) {
        memcpy(p->id, p->options.id, 16);
    } else if (partition_read_id(p->env->vfs, p->dir, p->id, NULL)) {
        struct rng rng;
        rng_seed_system(&rng);
        uuid_v7(p->env->clock, &rng, p->id);
    }
}

beck_status partition_write_metadata(struct partition *p, beck_error *err)
{
    char text[64];
    id_text(p->id, text);
    beck_status status = write_derived(p, "partition.metadata", text, err);
    return status ? status : write_derived(p, "leader-epoch-checkpoint", first_epoch, err);
}

/* Whether there is what was written, or a broker's. */
static bool has_epochs(struct partition *p)
{
    char path[4200];
    struct file *f;
    char text[sizeof first_epoch - 1];
    size_t got = 0;
    snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", p->dir);
    if (vfs_open(p->env->vfs, path, VFS_READ, &f, NULL))
        return false;
    beck_status status = file_read(f, text, sizeof text, 0, &got, NULL);
    file_close(f);
    return !status && got == sizeof text && memcmp(text, first_epoch, 2) == 0;
}

beck_status partition_write_id(struct partition *p, const uint8_t id[16], beck_error *err)
{
    char text[64], path[4200];
    uint8_t there[16];
    beck_status status = BECK_OK;
    memcpy(p->id, id, 16);
    if (p->segments[0]->unmade)
        return BECK_OK; /* it gets it with its files */
    if (partition_read_id(p->env->vfs, p->dir, there, NULL) || memcmp(there, id, 16) != 0) {
        id_text(id, text);
        snprintf(path, sizeof path, "%s/partition.metadata", p->dir);
        status = vfs_write_file(p->env->vfs, path, beck_str(text), err);
    }
    return status || has_epochs(p) ? status
                                   : write_derived(p, "leader-epoch-checkpoint", first_epoch, err);
}
