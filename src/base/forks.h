/* Telling the child of a fork() from the process that opened something: the number of forks between the first call of
 * this, in whatever process, and the process that calls. Any thread; nearly free. */
#ifndef BECK_BASE_FORKS_H
#define BECK_BASE_FORKS_H

unsigned forks_count(void);

#endif
