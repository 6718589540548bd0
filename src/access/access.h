/*
 * Who may do what: users with passwords and tokens, and their permissions on buses and queues.
 *
 * Users are records of the bus `__users` (compacted by key, the last record of a name counts), so
 * they last as everything else does. Passwords are kept as scrypt hashes, tokens as SHA-256 of their
 * 256 random bits. What a caller may do is decided from an identity: a snapshot of the user that is
 * borrowed for one request or one connection, and that notices when the user is changed.
 *
 * Threads: any. Checking a password takes tens of milliseconds of one processor: never on a thread
 * that serves connections. Checking a token is a look-up.
 */
#ifndef BECK_ACCESS_ACCESS_H
#define BECK_ACCESS_ACCESS_H

#include "base/bytes.h"

/* Rights on one bus or queue, as a set. */
enum access_right {
    ACCESS_PUBLISH = 1, /* to a bus */
    ACCESS_READ = 2,    /* events of a bus; peek and dead letters of a queue */
    ACCESS_WORK = 4,    /* take, settle, retry, reject, return */
    ACCESS_ADMIN = 8, /* make, change, delete, purge, rewind; on "everything": users, the server */
    ACCESS_CREATE = 16, /* make a bus of such a name, for Kafka's clients; part of admin */
    /* See that it is there, how it is set, and counts; on "everything": metrics. Part of all but create. */
    ACCESS_DESCRIBE = 32
};

enum access_kind { ACCESS_SERVER, ACCESS_BUS, ACCESS_QUEUE };

struct access;   /* all users of a handle */
struct identity; /* one caller */

struct access_settings {
    bool anonymous_loopback; /* who comes from this machine needs no name while no user exists, and
                                may do everything */
    bool anonymous_remote;   /* the same for everybody else */
    uint32_t failures_max;   /* failed logins of one address (IPv6: of one /64) within the window,
                                then it waits for the window's end; default 10 */
    uint32_t failures_window_ms; /* default 60,000 */
    bool keep_admin; /* the last user who administers the server and has a password or a token can
                                    neither be deleted nor lose that */
    uint32_t scrypt_log_n; /* cost: 2^n blocks of 1 KiB, 10-20; default 15 (32 MiB, about 60 ms). Of
                              passwords set from now on */
};

/* Reads the users; the handle outlives it. When a server owns the data directory of the handle, the
 * functions that list and change users work through it, and those of callers are not to be used: who
 * is let in is the server's business. In a handle without a data directory users last as long as
 * this. BECK_ECORRUPT: a record of `__users` is none. */
beck_status access_open(beck *b, const struct access_settings *settings, struct access **out,
                        beck_error *err);
void access_close(struct access *a); /* every identity was given back; NULL allowed */

/* ---- callers ---- */

/* A peer, as access rules see it. `address` as text, without the port; loopback: this machine,
 * a Unix socket included. */
struct access_peer {
    const char *address;
    bool loopback;
    bool trusted; /* came through the data directory's socket, whose file mode is the permission */
};

/* All three: *out is to be given back with identity_release. BECK_EDENIED: unknown, wrong, or not
 * allowed without a name; the text never says which. BECK_ELIMIT: too many failures from there,
 * *retry_ms (may be NULL) says how long to wait. Failures are counted per address, of those with
 * most failures when there are too many; an address that waits may use a token, as nobody can guess
 * one. At most two passwords are hashed at a time, others wait for their turn. */
beck_status access_anonymous(struct access *a, const struct access_peer *peer,
                             struct identity **out, beck_error *err);
beck_status access_password(struct access *a, const struct access_peer *peer, beck_bytes user,
                            beck_bytes password, struct identity **out, int64_t *retry_ms,
                            beck_error *err); /* slow */
beck_status access_token(struct access *a, const struct access_peer *peer, beck_bytes token,
                         struct identity **out, int64_t *retry_ms, beck_error *err);
/* Whether who does not come from this machine may come without a name: access_settings.anonymous_remote. */
bool access_is_open(const struct access *a);
/* A password that was right a moment ago (same user, same password, less than a minute) is found
 * again without hashing it anew: true, and *out is set. For clients that send it with each request. */
bool access_password_known(struct access *a, beck_bytes user, beck_bytes password,
                           struct identity **out);

/* The user of that name as they are now, for callers of whom it is known otherwise that they are that
 * user; NULL: there is none. Quick. */
struct identity *access_named(struct access *a, beck_bytes name);
/* What SCRAM (RFC 5802) needs of a user's password. false: no such user, or their password
 * came as a hash. Quick. */
enum scram_hash { SCRAM_HASH_256, SCRAM_HASH_512 };
#define SCRAM_HASHES 2
#define ACCESS_SCRAM_KEY_MAX 64
#define ACCESS_SCRAM_ITERATIONS 16384 /* of PBKDF2; the most that Kafka's tools make */
struct access_scram {
    uint32_t iterations;
    uint8_t salt[16];
    uint8_t stored_key[ACCESS_SCRAM_KEY_MAX], server_key[ACCESS_SCRAM_KEY_MAX];
};
bool access_scram(struct access *a, beck_bytes user, enum scram_hash hash,
                  struct access_scram *out);
/* For logins that are checked elsewhere: whether one from there is looked at (else BECK_ELIMIT), and
 * that one was wrong. Quick. */
beck_status access_may_try(struct access *a, const struct access_peer *peer, beck_error *err);
void access_failed(struct access *a, const struct access_peer *peer);

/* For whom something else vouches, such as a certificate: the user of that name; NULL: there is none. Quick. */
struct identity *access_vouched(struct access *a, beck_bytes user);

void identity_release(struct identity *i);
const char *identity_name(const struct identity *i); /* "" for an anonymous one */
const char *identity_tags(const struct identity *i); /* as access_user.tags */
bool identity_has_tag(const struct identity *i, const char *tag);
/* The buses that beck keeps for itself, the users too, are for ACCESS_ADMIN on the
 * server alone. */
bool identity_may(const struct identity *i, enum access_right right, enum access_kind kind,
                  const char *name);
/* The user was changed or deleted since: long-lived connections ask now and then. */
bool identity_is_stale(const struct identity *i);

/* ---- users: any right is held by ACCESS_ADMIN on the server ---- */

#define ACCESS_USERS_MAX 10000
#define ACCESS_RULES_MAX 100  /* of a user */
#define ACCESS_TOKENS_MAX 100 /* of a user */
#define ACCESS_NAME_MAX 128   /* of a user or token: 1-128 of [A-Za-z0-9._@+-] */
#define ACCESS_PASSWORD_MAX 1024
#define ACCESS_TAGS_MAX 255

struct access_rule {
    enum access_kind kind; /* ACCESS_SERVER: all buses, all queues, and for ACCESS_ADMIN users and
                              the server itself; name is not used */
    const char *pattern;   /* of names, with * for any characters: "orders.*" */
    uint32_t rights;       /* of a bus: publish, read, admin, create, describe;
                              of a queue: read, work, admin, describe */
};

struct access_user {
    const char *name;
    bool has_password;
    const char *password_hash; /* as it is kept; "": none, or listed through a server */
    const char *tags;          /* of RabbitMQ's management API, with commas between; "": none */
    const struct access_rule *rules;
    size_t rule_count;
    const char *const *tokens; /* their names, never themselves */
    size_t token_count;
};

/* Changes are durable once they return, and identities taken before are stale then. Errors:
 * BECK_EINVAL (a name, a rule, a password), BECK_ELIMIT, BECK_ENOENT, BECK_EEXIST (a token of that
 * name), BECK_EBUSY (keep_admin), and those of a publish; after any of them nothing changed. */

/* Made when missing. password absent: none (then only tokens), or as it was. rules NULL: as they
 * were. Slow when a password is given. */
beck_status access_put_user(struct access *a, const char *name, beck_bytes password,
                            const struct access_rule *rules, size_t rule_count, beck_error *err);
/* The same with more to say. Not through a server (BECK_EUNSUPPORTED). */
struct access_change {
    const char *name;
    beck_bytes password;
    const char *password_hash; /* instead of a password: as access_user has it; NULL: none */
    bool no_password;          /* it has none from now on */
    bool even_last;            /* whatever keep_admin says */
    const char *tags;          /* NULL: as they were */
    const struct access_rule *rules;
    size_t rule_count;
};
beck_status access_change_user(struct access *a, const struct access_change *c, beck_error *err);
beck_status access_delete_user(struct access *a, const char *name, beck_error *err);
/* In order of name; what `each` is given is valid during the call. Non-zero ends the walk. */
beck_status access_list_users(struct access *a,
                              int (*each)(void *ctx, const struct access_user *user), void *ctx,
                              beck_error *err);
size_t access_user_count(struct access *a);

/* A token's text is shown once, here, and is nowhere else afterwards. */
#define ACCESS_TOKEN_SIZE 52
beck_status access_make_token(struct access *a, const char *user, const char *token_name,
                              char out[ACCESS_TOKEN_SIZE], beck_error *err);
beck_status access_revoke_token(struct access *a, const char *user, const char *token_name,
                                beck_error *err);

#endif
