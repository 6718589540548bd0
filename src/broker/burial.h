/* Dead letters that leave their queue when those that get them have them for certain: see burial.c. Any thread;
 * they take home.lock. */
#ifndef BECK_BROKER_BURIAL_H
#define BECK_BROKER_BURIAL_H

#include "broker/delivery.h"

enum burial_state {
    BURIAL_NEW,   /* nobody has it */
    BURIAL_WAITS, /* for a sync */
    BURIAL_PART,  /* some have it (burial_has), others refused it, or it failed */
    BURIAL_DONE   /* all have it; it is forgotten here */
};
#define BURIAL_NONE 1 /* a note of those that nobody has; no burial's */
/* note: as burial_send left it, or BURIAL_NONE, or 0. */
enum burial_state burial_look(struct delivery_home *h, struct broker_queue *q, uint64_t note);
bool burial_has(struct delivery_home *h, struct broker_queue *q, uint64_t note,
                const struct broker_queue *target);
/* Appends it for the queues of the route, which are joined, and for its streams. BECK_OK: all took it;
 * an error: some did not, BECK_ELIMIT: they are full. Either way the helper has the engine bury again
 * when all syncs are over, after an error in a while. */
beck_status burial_send(struct delivery_home *h, struct broker_queue *q, const struct route *r,
                        enum storage storage, const beck_event *e, beck_bytes content,
                        uint64_t *note, beck_error *err);
/* Until no sync is under way; nothing is sent meanwhile. */
void burials_wait(struct delivery_home *h);
/* With the queue's last reference. */
void burials_free(struct broker_queue *q);

#endif
