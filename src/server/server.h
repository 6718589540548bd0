/*
 * The server: the engine as a service, from its settings to its end.
 */
#ifndef BECK_SERVER_SERVER_H
#define BECK_SERVER_SERVER_H

#include "server/config.h"

/* Runs a server until SIGTERM, SIGINT or a request ends it; SIGHUP reloads. The first signal drains
 * (server.drain_timeout), a second ends at once. Blocks these signals in the calling thread, which must
 * be the only one of the process. Takes the settings. `sources` are read again at a reload.
 * wait_ms: how long to wait for a data directory that another process holds. */
beck_status server_run(const struct config_sources *sources, struct settings *settings,
                       int64_t wait_ms, beck_error *err);

#endif
