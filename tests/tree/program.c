/* What somebody who installed the library writes first; compiled as C and as C++. */
#include <beck.h>
#include <stdio.h>

static int greet(void *ctx, const beck_event *event)
{
    *(int *)ctx += event->data.len == 4;
    return 0;
}

int main(void)
{
    beck *b = NULL;
    beck_bus *bus = NULL;
    beck_error err;
    int greeted = 0;
    if (beck_open(&b, NULL, &err) || beck_bus_create(b, "events", NULL, &bus, &err) ||
        beck_subscribe(bus, "hello.*", greet, &greeted, NULL, NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    beck_event event = {};
    event.type = beck_str("hello.world");
    event.data = beck_str("true");
    if (beck_publish(bus, &event, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    beck_close(b);
    return greeted == 1 ? 0 : 1;
}
