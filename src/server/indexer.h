/* Keeps the index of traces up to date while nobody else needs the processor: a thread of lowest
 * priority. A trace asked for meanwhile takes in what is missing by itself. */
#ifndef BECK_SERVER_INDEXER_H
#define BECK_SERVER_INDEXER_H

#include "server/log.h"

struct indexer;

/* every_ms: how long it rests between two looks. */
beck_status indexer_start(beck *b, struct log *log, uint32_t every_ms, struct indexer **out,
                          beck_error *err);
void indexer_stop(struct indexer *x); /* NULL allowed */

#endif
