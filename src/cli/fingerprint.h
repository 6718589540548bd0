/* Sixteen hexadecimal digits that tell inputs apart: the first part of the ids of their events. The
 * same content gives the same digits on every machine. */
#ifndef BECK_CLI_FINGERPRINT_H
#define BECK_CLI_FINGERPRINT_H

#include "cli/input.h"

#define FINGERPRINT_LEN 16

/* Of a regular file: its size, its beginning and end, and pieces between them. Of another input:
 * its beginning, up to 64 KiB or until it pauses, which stays in the window. False: errno. */
bool fingerprint_make(struct input *in, char out[FINGERPRINT_LEN + 1]);

#endif
