/*
 * How long a round of the committer is held for publishers that are expected back.
 *
 * A round's end releases its publishers, and most come back with their next event at once. The first
 * one back would lead a round for itself and for those that came while the last one ran: so
 * publishers would split into halves that sync in turns, and each event would wait for two syncs. So
 * the leader waits until all are back whom the last round released or found waiting, but no longer
 * than a sync takes, and at most 100 us from the end of that round. A lone publisher is all that is
 * expected, and waits for nobody.
 *
 * Those who do not come back cost the others that time. It is learned: a round that was held in vain
 * is followed by 2, 4, 8 ... 64 rounds that are not, until one is held with success.
 *
 * With committer.lock.
 */
#ifndef BECK_LOG_PATIENCE_H
#define BECK_LOG_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#define PATIENCE_NS_MAX 100000

struct patience {
    uint32_t expected; /* in the next round */
    int64_t until_ns;  /* it is held */
    uint32_t vain;     /* rounds held in vain, one after the other; at most PATIENCE_VAIN_MAX */
    uint32_t skips;    /* rounds not held because of them */
};

#define PATIENCE_VAIN_MAX 6

/* A round is over that released so many; so many have joined the next one already. */
void patience_round(struct patience *p, uint32_t released, uint32_t joined, int64_t began_ns,
                    int64_t ended_ns);
/* A round is about to begin that so many have joined. False: at once. True: it is to be held until
 * p->expected have joined or it is p->until_ns, then comes patience_held. */
bool patience_asks(struct patience *p, uint32_t joined, int64_t now_ns);
void patience_held(struct patience *p, uint32_t joined);

#endif
