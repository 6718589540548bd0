/* Replies of AMQP: their names and scope (amqp0-9-1.xml, "constants"), and their texts. */
#include "broker/broker.h"

#include <stdarg.h>
#include <stdio.h>

static const struct reply {
    int code;
    bool hard;
    const char *name;
} replies[] = {
    {200, false, "REPLY_SUCCESS"},
    {311, false, "CONTENT_TOO_LARGE"},
    {REPLY_NO_ROUTE, false, "NO_ROUTE"},
    {313, false, "NO_CONSUMERS"},
    {REPLY_CONNECTION_FORCED, true, "CONNECTION_FORCED"},
    {402, true, "INVALID_PATH"},
    {REPLY_ACCESS_REFUSED, false, "ACCESS_REFUSED"},
    {REPLY_NOT_FOUND, false, "NOT_FOUND"},
    {REPLY_RESOURCE_LOCKED, false, "RESOURCE_LOCKED"},
    {REPLY_PRECONDITION_FAILED, false, "PRECONDITION_FAILED"},
    {REPLY_FRAME_ERROR, true, "FRAME_ERROR"},
    {REPLY_SYNTAX_ERROR, true, "SYNTAX_ERROR"},
    {REPLY_COMMAND_INVALID, true, "COMMAND_INVALID"},
    {REPLY_CHANNEL_ERROR, true, "CHANNEL_ERROR"},
    {REPLY_UNEXPECTED_FRAME, true, "UNEXPECTED_FRAME"},
    {REPLY_RESOURCE_ERROR, true, "RESOURCE_ERROR"},
    {REPLY_NOT_ALLOWED, true, "NOT_ALLOWED"},
    {REPLY_NOT_IMPLEMENTED, true, "NOT_IMPLEMENTED"},
    {REPLY_INTERNAL_ERROR, true, "INTERNAL_ERROR"},
};

static const struct reply *find_reply(int code)
{
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
        if (replies[i].code == code)
            return &replies[i];
    return &replies[sizeof replies / sizeof *replies - 1];
}

bool broker_is_hard(int code)
{
    return find_reply(code)->hard;
}

static const char *reply_name(int code)
{
    return find_reply(code)->name;
}

int broker_refuse_args(char *text, int code, const char *format, va_list args)
{
    int len = snprintf(text, BROKER_TEXT, "%s - ", reply_name(code));
    vsnprintf(text + len, (size_t)(BROKER_TEXT - len), format, args);
    return code;
}

int broker_refuse(char *text, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    broker_refuse_args(text, code, format, args);
    va_end(args);
    return code;
}
