/*
 * How many connections each address has. IPv6 addresses count by their /64, as one machine has all
 * of it. Any thread.
 */
#ifndef BECK_NET_ADDRESSES_H
#define BECK_NET_ADDRESSES_H

#include "net/net.h"
#include <sys/socket.h>

#define ADDRESS_KEY_SIZE 16

struct addresses;

struct addresses *addresses_new(void); /* NULL: no memory */
void addresses_free(struct addresses *a);
/* Counts one more; false: it has `max` already, or there is no memory. */
bool addresses_enter(struct addresses *a, const uint8_t key[ADDRESS_KEY_SIZE], uint32_t max);
void addresses_leave(struct addresses *a, const uint8_t key[ADDRESS_KEY_SIZE]);

/* Text, port and whether it is this machine, and what the address counts as. IPv4 in IPv6 is
 * IPv4. */
void address_of(const struct sockaddr_storage *from, struct net_peer *peer,
                uint8_t key[ADDRESS_KEY_SIZE]);

#endif
