/* beck metrics: the metrics of a data directory, for Prometheus. */
#include "cli/commands.h"
#include <stdio.h>

static void write_text(void *ctx, const char *text, size_t len)
{
    (void)ctx;
    fwrite(text, 1, len, stdout);
}

static int metrics_run(struct call *call)
{
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_metrics(call->handle, write_text, NULL, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

const struct command command_metrics = {
    .name = "metrics",
    .help = "print metrics in Prometheus text format",
    .about = "Sizes and counts are those of the data directory; rates begin at 0 in every process.",
    .examples = "beck metrics | grep beck_queue",
    .run = metrics_run,
};
