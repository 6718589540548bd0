/* A password from a person or a pipe: never from the command line, where everybody on the machine
 * can read it. */
#ifndef BECK_CLI_PASSWORD_H
#define BECK_CLI_PASSWORD_H

#include "cli/command.h"

#define PASSWORD_SIZE 1026

/* From the first line of standard input, or asked for twice on the terminal without an echo. With a
 * NUL. EXIT_DONE, or the code after a report. password_forget once it was used. */
int password_ask(const struct call *call, bool from_stdin, const char *user,
                 char out[PASSWORD_SIZE]);
void password_forget(char password[PASSWORD_SIZE]);

#endif
