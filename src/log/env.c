/* What the engine gets from outside: see env.h. */
#include "log/env.h"

#include <stdarg.h>
#include <stdio.h>

void env_report(const struct env *env, beck_status code, const char *format, ...)
{
    beck_error error = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof error.text, format, args);
    va_end(args);
    env->report(env->report_ctx, &error);
}
