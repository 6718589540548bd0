/* The options of reading, taken from a call. */
#include "cli/reading.h"
#include "event/pattern.h"

int reading_options(const struct call *call, beck_read_options *out)
{
    beck_error err;
    *out = (beck_read_options){.from.kind = BECK_FROM_EARLIEST};
    if (option_given(call, "from") && option_given(call, "since")) {
        return call_usage(call, "--from and --since are both given: give one");
    }
    if (option_given(call, "from")) {
        out->from = option_from(call, "from");
    } else if (option_given(call, "since")) {
        out->from.kind = BECK_FROM_TIME;
        out->from.time_ms = option_number(call, "since", 0) / 1000000;
    }
    if (option_given(call, "until")) {
        out->until_time_ms = option_number(call, "until", 0) / 1000000;
    }
    if (out->from.kind == BECK_FROM_TIME && option_given(call, "until") &&
        out->until_time_ms <= out->from.time_ms) {
        return call_usage(call, "--until is not after the beginning: nothing could be read");
    }
    out->pattern = option_text(call, "type");
    if (out->pattern && pattern_check(beck_str(out->pattern), &err)) {
        return call_usage(call, "%s", err.text);
    }
    out->subject = beck_str(option_text(call, "subject"));
    out->partition_plus_1 = (int32_t)option_number(call, "partition", -1) + 1;
    return EXIT_DONE;
}

int reading_begin(const struct call *call, beck_bus *bus, const beck_read_options *options,
                  beck_reader **out)
{
    beck_error err;
    beck_status status = beck_reader_open(bus, options, out, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}
