/*
 * Transactions: what is published and answered on the channel is kept until commit or rollback. Commit
 * publishes all, settles the answers, and is answered once everything is stored; meanwhile the connection
 * is not read.
 */
#include "wire/amqp/amqp_impl.h"

#include <stdlib.h>

struct tx_message {
    struct tx_message *next;
    struct publication m;
    size_t size; /* counted */
    uint8_t bytes[];
};

struct tx_answer {
    struct outstanding o;
    enum settlement how;
};

struct transaction {
    struct tx_message *first, **last, *at; /* at: the next that is published by commit */
    uint32_t count;
    struct tx_answer *answers;
    size_t answer_count, answer_cap;
    bool committing, failed;
    bool stopped;            /* the commit waits until the client reads what is returned to it */
    uint64_t token, waiting; /* publications that are not confirmed */
};

static void note(struct channel *ch)
{
    atomic_store(&ch->uncommitted_seen, ch->tx->count);
    atomic_store(&ch->acks_seen, (uint32_t)ch->tx->answer_count);
}

/* ---- keeping ---- */

void tx_publish(struct channel *ch, const struct publication *m)
{
    struct transaction *t = ch->tx;
    size_t size = sizeof(struct tx_message) + m->exchange.len + m->routing_key.len +
                  m->properties.len + m->body.len;
    if (!bodies_take(ch->c->amqp, size)) {
        amqp_refusef(ch->c, REPLY_RESOURCE_ERROR, METHOD_basic_publish,
                     "transactions take too much memory");
        return;
    }
    struct tx_message *kept = malloc(size);
    if (!kept) {
        bodies_give(ch->c->amqp, size);
        amqp_drop(ch->c, "there is no memory for a message");
        return;
    }
    uint8_t *at = kept->bytes;
    *kept = (struct tx_message){.m = *m, .size = size};
    kept->m.exchange = bytes_put(&at, m->exchange);
    kept->m.routing_key = bytes_put(&at, m->routing_key);
    kept->m.properties = bytes_put(&at, m->properties);
    kept->m.body = bytes_put(&at, m->body);
    kept->m.confirm = true;
    *t->last = kept;
    t->last = &kept->next;
    t->count++;
    note(ch);
}

void tx_settle(struct channel *ch, struct outstanding o, enum settlement how)
{
    struct transaction *t = ch->tx;
    if (t->answer_count == t->answer_cap) {
        size_t cap = t->answer_cap ? t->answer_cap * 2 : 16;
        struct tx_answer *more = realloc(t->answers, cap * sizeof *more);
        if (!more) {
            settle_outstanding(ch, o, SETTLE_REQUEUE);
            amqp_drop(ch->c, "there is no memory for a transaction");
            return;
        }
        t->answers = more;
        t->answer_cap = cap;
    }
    t->answers[t->answer_count++] = (struct tx_answer){o, how};
    note(ch);
}

/* ---- giving up ---- */

static void forget_messages(struct channel *ch)
{
    struct transaction *t = ch->tx;
    while (t->first) {
        struct tx_message *m = t->first;
        t->first = m->next;
        bodies_give(ch->c->amqp, m->size);
        free(m);
    }
    t->last = &t->first;
    t->at = NULL;
    t->count = 0;
}

void tx_abandon(struct channel *ch)
{
    struct transaction *t = ch->tx;
    struct unacked *u = &ch->unacked;
    if (!t)
        return;
    forget_messages(ch);
    if (t->answer_count > 0 && !unacked_reserve(u, t->answer_count)) {
        for (size_t i = 0; i < t->answer_count; i++)
            settle_outstanding(ch, t->answers[i].o, SETTLE_REQUEUE);
        t->answer_count = 0;
    }
    for (size_t i = 0; i < t->answer_count; i++)
        unacked_add(u, t->answers[i].o);
    if (t->answer_count > 0)
        unacked_sort(u);
    t->answer_count = 0;
    note(ch);
}

void tx_free(struct channel *ch)
{
    if (!ch->tx)
        return;
    forget_messages(ch);
    free(ch->tx->answers);
    free(ch->tx);
    ch->tx = NULL;
}

/* ---- commit ---- */

static void hold(struct amqp_connection *c)
{
    c->held++;
    connection_pause(c->net);
}

void tx_stop(struct channel *ch)
{
    if (!ch->tx || !ch->tx->committing)
        return;
    ch->tx->committing = false;
    ch->c->held--;
}

static void finish_commit(struct channel *ch)
{
    struct transaction *t = ch->tx;
    struct amqp_connection *c = ch->c;
    tx_stop(ch);
    if (t->failed)
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, METHOD_tx_commit, "partial tx completion");
    else
        channel_send_empty(ch, METHOD_tx_commit_ok);
    amqp_go_on(c);
}

static void settle_answers(struct channel *ch)
{
    struct transaction *t = ch->tx;
    for (size_t i = 0; i < t->answer_count; i++)
        settle_outstanding(ch, t->answers[i].o, t->answers[i].how);
    t->answer_count = 0;
    amqp_flush(ch->c);
}

/* Called again when something had to be prepared. */
static void commit_on(struct channel *ch)
{
    struct transaction *t = ch->tx;
    int code = 0;
    for (; t->at && code == 0; t->at = code ? t->at : t->at->next) {
        if (connection_is_full(ch->c->net) && ch->c->stage == STAGE_RUNNING) {
            t->stopped = true;
            amqp_flush(ch->c);
            return;
        }
        code = publish_now(ch, &t->at->m, t->token + 1);
        t->token += code == 0;
        t->waiting += code == 0;
    }
    if (code == BROKER_LATER) {
        publish_prepare(ch, t->at->m.exchange, commit_on);
        return;
    }
    amqp_flush(ch->c);
    if (code) { /* the channel ends */
        tx_stop(ch);
        amqp_go_on(ch->c);
        return;
    }
    forget_messages(ch);
    settle_answers(ch);
    note(ch);
    if (t->waiting == 0)
        finish_commit(ch);
}

void tx_go_on(struct channel *ch)
{
    if (!ch->tx || !ch->tx->stopped)
        return;
    ch->tx->stopped = false;
    commit_on(ch);
}

static void commit(struct channel *ch)
{
    struct transaction *t = ch->tx;
    t->at = t->first;
    t->committing = true;
    t->failed = false;
    hold(ch->c);
    commit_on(ch);
}

void tx_confirmed(struct channel *ch, uint64_t count, bool ack)
{
    struct transaction *t = ch->tx;
    t->waiting -= count;
    t->failed |= !ack;
    if (t->committing && !t->first && t->waiting == 0)
        finish_commit(ch);
}

/* ---- methods ---- */

static void select_tx(struct channel *ch)
{
    if (ch->confirming) {
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, METHOD_tx_select,
                        "cannot switch from confirm to tx mode");
        return;
    }
    if (!ch->tx) {
        ch->tx = calloc(1, sizeof *ch->tx);
        if (!ch->tx || (!ch->confirms && !confirms_make(ch))) {
            amqp_drop(ch->c, "there is no memory for a transaction");
            return;
        }
        ch->tx->last = &ch->tx->first;
        atomic_store(&ch->mode_seen, 't');
    }
    channel_send_empty(ch, METHOD_tx_select_ok);
}

void tx_method(struct channel *ch, const struct method *m)
{
    if (m->id == METHOD_tx_select) {
        select_tx(ch);
    } else if (!ch->tx) {
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, (uint32_t)m->id,
                        "channel is not transactional");
    } else if (m->id == METHOD_tx_commit) {
        commit(ch);
    } else {
        tx_abandon(ch);
        channel_send_empty(ch, METHOD_tx_rollback_ok);
    }
}
