/* "Did you mean": the name among several that is most like a mistyped one. */
#ifndef BECK_BASE_NEAREST_H
#define BECK_BASE_NEAREST_H

/* To be called for each candidate, beginning with `best` NULL: the candidate when it is near `name`
 * and nearer than `best`, else `best`. *distance is that of the result. */
const char *nearest(const char *name, const char *best, unsigned *distance, const char *candidate);

#endif
