/* Holding rounds: see patience.h. */
#include "log/patience.h"

void patience_round(struct patience *p, uint32_t released, uint32_t joined, int64_t began_ns,
                    int64_t ended_ns)
{
    int64_t took_ns = ended_ns - began_ns;
    p->expected = released + joined;
    p->until_ns = ended_ns + (took_ns < PATIENCE_NS_MAX ? took_ns : PATIENCE_NS_MAX);
}

bool patience_asks(struct patience *p, uint32_t joined, int64_t now_ns)
{
    if (joined >= p->expected || now_ns >= p->until_ns)
        return false;
    if (p->skips == 0)
        return true;
    p->skips--;
    return false;
}

void patience_held(struct patience *p, uint32_t joined)
{
    if (joined >= p->expected) {
        p->vain = 0;
        return;
    }
    p->vain += p->vain < PATIENCE_VAIN_MAX;
    p->skips = 1u << p->vain;
}
