/*
 * The JSON documents of the HTTP API as shapes: read and written by the server and by clients, and
 * described in the OpenAPI document, all from the same tables. Members are named after the fields of
 * beck.h and mean the same; zero means the default wherever it does there.
 */
#ifndef BECK_EVENT_API_SHAPE_H
#define BECK_EVENT_API_SHAPE_H

#include "event/shape.h"

/* {"type","title","status","detail","code"} of RFC 9457; code is the name of a beck_status. */
struct api_problem {
    const char *type, *title, *detail, *code;
    uint32_t status;
};
extern const struct shape shape_problem;

/* An event as a CloudEvent, and an array of them: read and written by cloudevents.h. */
extern const struct shape shape_event, shape_events;

/* ---- buses ---- */

extern const struct shape shape_bus_options; /* beck_bus_options */

struct api_bus {
    beck_bus_info info;
    bool internal; /* one of beck's own: it can only be read */
};
extern const struct shape shape_bus;

struct api_buses {
    struct api_bus *list;
    size_t count;
};
extern const struct shape shape_buses;

struct api_partition {
    uint32_t partition;
    beck_partition_info info;
};
extern const struct shape shape_partition;

struct api_partitions {
    struct api_partition *list;
    size_t count;
};
extern const struct shape shape_partitions;

/* What a publish gives. */
struct api_published {
    beck_published published;
    uint32_t count; /* events of the request */
};
extern const struct shape shape_published;

/* Publishes of one request, each by itself, in order. */
struct api_publish {
    beck_bytes events; /* the text of an array */
};
struct api_publishes {
    struct api_publish *list;
    size_t count;
};
extern const struct shape shape_publish, shape_publishes;
struct api_outcome {
    struct api_published was;
    const char *code; /* NULL: it was published */
};
struct api_outcomes {
    struct api_outcome *list;
    size_t count;
};
extern const struct shape shape_outcome, shape_outcomes;

/* ---- queues ---- */

extern const struct shape shape_queue_options; /* beck_queue_options */
extern const struct shape shape_binding;       /* beck_binding; pattern NULL: "#" */

struct api_bindings {
    beck_binding *list;
    size_t count;
};
extern const struct shape shape_bindings;

/* What makes a queue: its options, and what it is bound to from the start. */
struct api_queue_spec {
    beck_queue_options options;
    struct api_bindings bindings;
};
extern const struct shape shape_queue_spec;

extern const struct shape shape_queue; /* beck_queue_info */

struct api_queues {
    beck_queue_info *list;
    size_t count;
};
extern const struct shape shape_queues;

struct api_rewind {
    beck_from from;
};
extern const struct shape shape_rewind;

struct api_count {
    int64_t count;
};
extern const struct shape shape_purged;   /* {"purged"} */
extern const struct shape shape_redriven; /* {"redriven"} */

/* ---- deliveries ---- */

#define API_TAKE_MAX 1000  /* deliveries in one answer */
#define API_TAGS_MAX 10000 /* in one request */
#define API_WHY_MAX 1024

struct api_delivery {
    uint64_t tag;
    uint32_t attempt;
    bool redelivered;
    int64_t deadline_ms;
    beck_bytes event; /* a CloudEvent with beckbus, beckpartition and beckoffset */
};
extern const struct shape shape_delivery;

struct api_deliveries {
    struct api_delivery *list;
    size_t count;
};
extern const struct shape shape_deliveries;

/* How deliveries went: which, and what the verb needs besides. */
struct api_tags {
    uint64_t *tags;
    size_t count;
    int64_t delay_ms; /* retry: -1 is the queue's back-off */
    const char *why;  /* retry, reject */
};
extern const struct shape shape_tags;        /* settle, return, extend: tags alone */
extern const struct shape shape_tags_retry;  /* with delay_ms and why */
extern const struct shape shape_tags_reject; /* with why */

/* The answer: how many, and those that are not held any more. */
struct api_done {
    uint32_t count;
    uint64_t *stale;
    size_t stale_count;
};
extern const struct shape shape_settled, shape_retried, shape_rejected, shape_returned,
    shape_extended;

/* ---- dead letters ---- */

struct api_dead {
    int64_t offset;
    const char *reason;
    uint32_t attempts;
    int64_t died_ms;
    struct {
        const char *bus;
        uint32_t partition;
        int64_t offset;
    } origin;
    beck_bytes history, event;
};
extern const struct shape shape_dead;

struct api_dead_letters {
    struct api_dead *list;
    size_t count;
    int64_t next_offset; /* of the dead letters behind these; -1: there are none */
};
extern const struct shape shape_dead_letters;

/* ---- what waits in a queue ---- */

struct api_waiting {
    struct {
        const char *bus;
        uint32_t partition;
        int64_t offset;
    } origin;
    uint32_t attempt;
    int64_t since_ms, due_ms;
    beck_bytes event;
};
extern const struct shape shape_waiting;

struct api_waiting_list {
    struct api_waiting *list;
    size_t count;
    int64_t next_from; /* -1: there are no more */
};
extern const struct shape shape_waiting_list;

/* ---- traces ---- */

/* The fields of beck_trace_delivery. */
struct api_trace_delivery {
    const char *queue, *state, *reason;
    uint32_t attempts;
    int64_t at_ms;
    beck_bytes history;
};

/* beck_trace_step; also the form in which the command line prints one. */
struct api_trace_step {
    uint32_t depth;
    beck_bytes event;
    struct api_trace_delivery *deliveries;
    size_t delivery_count;
};
extern const struct shape shape_trace_step;

struct api_trace {
    struct api_trace_step *list;
    size_t count;
};
extern const struct shape shape_trace;

/* Appends the step as an object of shape_trace_step. */
beck_status api_trace_step_write(const beck_trace_step *step, struct buf *out, beck_error *err);

/* ---- users ---- */

#define API_RULES_MAX 100

/* Exactly one of bus, queue and server. */
struct api_rule {
    const char *bus, *queue;
    bool server;
    uint32_t rights; /* bits: publish, read, work, admin, create, describe */
};
extern const struct shape shape_rule;

struct api_user {
    const char *name;
    bool has_password;
    struct api_rule *rules;
    size_t rule_count;
    const char **tokens;
    size_t token_count;
};
extern const struct shape shape_user;

struct api_users {
    struct api_user *list;
    size_t count;
};
extern const struct shape shape_users;

/* What makes or changes a user; what is absent stays as it was. */
struct api_user_spec {
    const char *password;
    struct api_rule *rules;
    size_t rule_count;
};
extern const struct shape shape_user_spec;

struct api_token_spec {
    const char *name;
};
extern const struct shape shape_token_spec;

struct api_token {
    const char *token;
};
extern const struct shape shape_token;

struct api_caller {
    const char *user; /* "" for one without a name */
    bool admin;
};
extern const struct shape shape_caller;

/* ---- the server ---- */

struct api_server {
    const char *version, *data; /* data: the directory; NULL: in memory */
    int64_t pid, started_ms;
    uint32_t connections, requests;
    int64_t body_bytes;
};
extern const struct shape shape_server;

/* ---- webhooks ---- */

/* A configured source, without its secrets, and what became of its requests. */
struct api_hook {
    const char *name, *provider, *bus;
    beck_level level;
    uint32_t secrets; /* how many */
    int64_t tolerance_ms, body_max, dedup_window_ms;
    beck_bytes requests; /* an object of numbers by outcome */
    int64_t failed_ms;   /* when an event could not be stored last, and why; 0: never */
    const char *failure;
};
extern const struct shape shape_hook;

struct api_hooks {
    struct api_hook *list;
    size_t count;
};
extern const struct shape shape_hooks;

/* A request that was refused: body as text when it is UTF-8. */
struct api_refused {
    const char *hook, *reason, *address, *received, *method;
    beck_bytes headers; /* an array of {"name","value"} */
    const char *body, *body_base64;
    int64_t body_bytes; /* of the whole */
};
extern const struct shape shape_refused;

struct api_refused_requests {
    struct api_refused *list;
    size_t count;
};
extern const struct shape shape_refused_requests;

/* All of the above; ends with NULL. */
extern const struct shape *const api_shapes[];

#endif
