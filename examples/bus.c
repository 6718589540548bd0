/*
 * An event bus within one process: parts of a program tell each other what happened without knowing
 * each other. Listeners are functions, called by the publisher's thread before beck_publish
 * returns. Nothing is stored, no thread is started.
 */
#include "example.h"

/* The shop's stock: answers an order with an event of its own. */
static int reserve_stock(void *ctx, const beck_event *event)
{
    beck_bus *bus = ctx;
    printf("  stock: reserving for %.*s\n", TEXT(event->subject));
    /* Published while handling another event: its correlation and causation are filled in. */
    beck_event reserved = {.type = beck_str("stock.reserved"),
                           .subject = event->subject,
                           .data = beck_str("{\"items\": 2}")};
    return beck_publish(bus, &reserved, NULL);
}

/* Sees everything, and counts. */
static int audit(void *ctx, const beck_event *event)
{
    int *seen = ctx;
    ++*seen;
    printf("  audit: %.*s about %.*s", TEXT(event->type), TEXT(event->subject));
    if (event->causationid.len > 0)
        printf(", caused by %.*s", TEXT(event->causationid));
    printf("\n");
    return 0;
}

/* A listener that fails does not stop the others. */
static int send_mail(void *ctx, const beck_event *event)
{
    (void)ctx, (void)event;
    return 1;
}

/* Called for what nobody waits for, as failed listeners. */
static void on_error(void *ctx, const beck_error *error)
{
    int *errors = ctx;
    ++*errors;
    printf("  reported: %s\n", error->text);
}

int main(void)
{
    int seen = 0, errors = 0, first_orders = 0;
    beck_error err;
    beck *b;
    must(beck_open(&b, &(beck_options){.on_error = on_error, .on_error_ctx = &errors}, &err), &err);
    beck_bus *shop;
    must(beck_bus_create(b, "shop", NULL, &shop, &err), &err);

    beck_listener *mail;
    must(beck_subscribe(shop, "order.created", reserve_stock, shop, NULL, NULL, &err), &err);
    must(beck_subscribe(shop, "order.*", send_mail, NULL, NULL, &mail, &err), &err);
    must(beck_subscribe(shop, "#", audit, &seen, NULL, NULL, &err), &err);
    /* A temporary one: gone after its first event. */
    must(beck_subscribe(shop, "order.#", audit, &first_orders,
                        &(beck_listener_options){.events_max = 1}, NULL, &err),
         &err);

    printf("an order comes in\n");
    beck_event order = {.type = beck_str("order.created"),
                        .subject = beck_str("ORD-789"),
                        .source = beck_str("/shop"),
                        .id = beck_str("e-1"),
                        .data = beck_str("{\"total\": 42}")};
    beck_published published;
    must(beck_publish_many(shop, &order, 1, NULL, &published, &err), &err);
    printf("published; %u listener failed\n", published.listeners_failed);
    expect(published.listeners_failed == 1 && errors == 1, "the mail fails, and that is reported");
    expect(seen == 2 && first_orders == 1, "the order and the reservation are audited");

    printf("the mail is unsubscribed, and the order is paid\n");
    beck_unsubscribe(mail);
    order.type = beck_str("order.paid");
    order.id = beck_str("e-2");
    must(beck_publish_many(shop, &order, 1, NULL, &published, &err), &err);
    expect(published.listeners_failed == 0 && seen == 3 && first_orders == 1,
           "only the audit is left");

    beck_close(b);
    return 0;
}
