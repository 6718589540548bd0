/* Telling the service manager how the server is (sd_notify's protocol, $NOTIFY_SOCKET). */
#ifndef BECK_SERVER_NOTIFY_H
#define BECK_SERVER_NOTIFY_H

/* "READY=1\nSTATUS=..." Nothing where nobody asked to be told. */
void notify_send(const char *state);
void notify_reloading(void); /* RELOADING=1 with the time that it needs */

#endif
