/* The options of reading, taken from a call. */
#include "cli/reading.h"
#include "event/pattern.h"
#include "event/value.h"

/* "0/12", or "BUS/0/12" as positions are printed: that partition, from that offset on. */
static bool read_position(const char *text, const char *bus, beck_read_options *out)
{
    size_t len = strlen(bus);
    int64_t partition;
    char digits[8];
    if (strncmp(text, bus, len) == 0 && text[len] == '/') {
        text += len + 1;
    }
    size_t count = strcspn(text, "/");
    if (text[count] != '/' || count >= sizeof digits) {
        return false;
    }
    memcpy(digits, text, count);
    digits[count] = '\0';
    if (!value_number(digits, &partition) || partition < 0 || partition > 9999 ||
        !value_number(text + count + 1, &out->from.offset) || out->from.offset < 0) {
        return false;
    }
    out->from.kind = BECK_FROM_OFFSET;
    out->partition_plus_1 = (int32_t)partition + 1;
    return true;
}

static int read_from(const struct call *call, beck_read_options *out)
{
    const char *text = option_text(call, "from");
    const char *bus = call->argument_count ? call->arguments[0] : "events";
    if (value_from(text, call->now_ns, &out->from)) {
        return EXIT_DONE;
    }
    if (!read_position(text, bus, out)) {
        return call_usage(call,
                          "--from '%s' cannot be read: give now, earliest, an offset such as 1200, "
                          "a position such as 0/1200, or a time such as 14:30 or -10m",
                          text);
    }
    int64_t partition = option_number(call, "partition", -1);
    if (partition >= 0 && partition + 1 != out->partition_plus_1) {
        return call_usage(call, "--from '%s' and --partition %lld are of two partitions", text,
                          (long long)partition);
    }
    return EXIT_DONE;
}

int reading_options(const struct call *call, beck_read_options *out)
{
    beck_error err;
    *out =
        (beck_read_options){.from.kind = BECK_FROM_EARLIEST,
                            .partition_plus_1 = (int32_t)option_number(call, "partition", -1) + 1};
    if (option_given(call, "from") && option_given(call, "since")) {
        return call_usage(call, "--from and --since are both given: give one");
    }
    if (option_given(call, "from")) {
        int code = read_from(call, out);
        if (code) {
            return code;
        }
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
    const char *subject = option_text(call, "subject");
    if (subject && !subject[0]) {
        return call_usage(call, "--subject is empty: name one, or leave it out for all events");
    }
    out->subject = beck_str(subject);
    return EXIT_DONE;
}

bool reading_wants(const struct call *call, const beck_event *e)
{
    return !option_given(call, "since") || e->time_ns >= option_number(call, "since", 0);
}

int reading_begin(const struct call *call, beck_bus *bus, const beck_read_options *options,
                  beck_reader **out)
{
    beck_error err;
    beck_status status = beck_reader_open(bus, options, out, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}
