/* The server as a whole: overview, its one node, who asks, what it can do. */
#include "wire/management/list.h"
#include "wire/management/management_impl.h"
#include "wire/management/stats.h"

#include "api/handle.h"
#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- parts ---- */

static json_t *exchange_types(void)
{
    static const char *const types[] = {"direct",
                                        "fanout",
                                        "headers",
                                        "topic",
                                        "x-consistent-hash",
                                        "x-delayed-message",
                                        "x-local-random",
                                        "x-modulus-hash",
                                        "x-random",
                                        "x-recent-history"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:b}", "name", types[i], "description", "", "enabled", 1));
    return list;
}

/* "127.0.0.1:5672" in two. */
static int split_address(const char *address, char *host, size_t size)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : strlen(address);
    bool bracketed = address[0] == '[' && len >= 2;
    snprintf(host, size, "%.*s", (int)(bracketed ? len - 2 : len), address + bracketed);
    return colon ? atoi(colon + 1) : 0;
}

static json_t *listeners(const struct call *c, bool web)
{
    json_t *list = json_array();
    for (size_t i = 0; i < call_context(c)->listener_count; i++) {
        const struct management_listener *at = &call_context(c)->listeners[i];
        bool http = strncmp(at->protocol, "http", 4) == 0;
        char host[128];
        int port = split_address(at->address, host, sizeof host);
        if (web && !http)
            continue;
        json_t *o = json_object();
        json_put_word(o, "node", c->m->node);
        if (web) {
            json_put_word(o, "description", "RabbitMQ Management");
            json_put_word(o, "path", "/");
        } else {
            json_put_word(o, "protocol", at->protocol);
            json_put_word(o, "ip_address", host);
            json_put(o, "socket_opts", json_object());
        }
        json_put_number(o, "port", port);
        if (web)
            json_put_word(o, "ip", host);
        json_array_append_new(list, o);
    }
    return list;
}

static void put_versions(const struct call *c, json_t *o)
{
    const struct management_context *x = call_context(c);
    json_put_word(o, "management_version", x->rabbitmq_version);
    json_put_word(o, "rabbitmq_version", x->rabbitmq_version);
    json_put_word(o, "product_name", "beck");
    json_put_word(o, "product_version", x->product_version);
    json_put_word(o, "erlang_version", "");
    json_put_word(o, "erlang_full_version", "");
}

static json_t *object_totals(const struct totals *t)
{
    json_t *o = json_object();
    json_put_number(o, "connections", t->connections);
    json_put_number(o, "channels", t->channels);
    json_put_number(o, "exchanges", t->exchanges);
    json_put_number(o, "queues", t->queues);
    json_put_number(o, "consumers", t->consumers);
    return o;
}

static json_t *churn_rates(void)
{
    static const char *const names[] = {
        "connection_created", "connection_closed", "channel_created", "channel_closed",
        "queue_declared",     "queue_created",     "queue_deleted"};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char details[64];
        snprintf(details, sizeof details, "%s_details", names[i]);
        json_put_number(o, names[i], 0);
        json_put(o, details, json_pack("{s:f}", "rate", 0.0));
    }
    return o;
}

static int take_name(void *ctx, const struct parameter_view *v)
{
    json_t **name = ctx;
    *name = json_of_document(v->value);
    return 1;
}

/* As somebody put it, or that of the node. */
static json_t *cluster_name(const struct call *c)
{
    json_t *name = NULL;
    broker_each_parameter(c->b, true, (beck_bytes){0}, (beck_bytes){0}, beck_str("cluster_name"),
                          take_name, &name);
    if (json_is_string(name))
        return name;
    json_decref(name);
    return json_string(c->m->node);
}

static void show_overview(struct call *c)
{
    struct totals t;
    json_t *o = json_object(), *sums = json_object();
    beck_bytes of = c->monitoring ? beck_str("all") : beck_str(c->user);
    totals_count(&t, c, (beck_bytes){0});
    put_versions(c, o);
    json_put_word(o, "rates_mode", "basic");
    json_put(o, "exchange_types", exchange_types());
    json_put(o, "cluster_name", cluster_name(c));
    json_put(o, "cluster_tags", json_object());
    json_put(o, "node_tags", json_object());
    json_put_word(o, "node", c->m->node);
    json_put_word(o, "default_queue_type", "classic");
    json_put_flag(o, "disable_stats", false);
    json_put_flag(o, "enable_queue_totals", false);
    json_put_flag(o, "is_op_policy_updating_enabled", true);
    json_put_number(o, "statistics_db_event_queue", 0);
    json_put(o, "message_stats", stats_of_totals(c, &t, of));
    json_put(o, "churn_rates", churn_rates());
    stats_put_messages(c, sums, of, t.ready, t.unacked);
    json_put(o, "queue_totals", sums);
    json_put(o, "object_totals", object_totals(&t));
    json_put(o, "listeners", c->monitoring ? listeners(c, false) : json_array());
    json_put(o, "contexts", c->monitoring ? listeners(c, true) : json_array());
    json_put(o, "sample_retention_policies",
             json_pack("{s:[i],s:[i],s:[i]}", "global", 600, "basic", 600, "detailed", 600));
    answer_json(c, 200, list_columns(c, o));
}

/* ---- the node ---- */

static int64_t resident_bytes(void)
{
    long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static int64_t open_files(void)
{
    int64_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return count > 3 ? count - 3 : 0; /* . and .. and the directory itself */
}

/* Where the data directory is; INT64_MAX: there is none. */
static int64_t disk_free(const struct call *c)
{
    struct statvfs s;
    const char *dir = call_context(c)->b->data_dir;
    if (!dir || statvfs(dir, &s))
        return INT64_MAX;
    return (int64_t)s.f_bavail * (int64_t)s.f_frsize;
}

uint32_t management_alarms(const struct call *c)
{
    const struct amqp *amqp = call_context(c)->amqp;
    return amqp ? amqp_alarms(amqp) : 0;
}

static void put_resources(const struct call *c, json_t *o)
{
    uint32_t alarms = management_alarms(c);
    json_put_number(o, "disk_free", disk_free(c));
    json_put_number(o, "disk_free_limit", call_context(c)->disk_free_limit);
    json_put_flag(o, "disk_free_alarm", alarms & AMQP_ALARM_DISK);
    rates_put(c->m->rates, o, beck_str("node"), "mem_used", resident_bytes(), true, &c->node_stats);
    json_put_number(o, "mem_limit", call_context(c)->memory_limit);
    json_put_flag(o, "mem_alarm", alarms & AMQP_ALARM_MEMORY);
}

static void put_files(json_t *o, int64_t sockets)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    int64_t most = files.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)files.rlim_cur;
    json_put_number(o, "fd_used", open_files());
    json_put_number(o, "fd_total", most);
    json_put_number(o, "sockets_used", sockets);
    json_put_number(o, "sockets_total", most);
}

static json_t *mechanisms(void)
{
    static const char *const names[] = {"PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:b}", "name", names[i], "description", "", "enabled", 1));
    return list;
}

static json_t *node(struct call *c)
{
    struct totals t;
    json_t *o = json_object();
    totals_count(&t, c, (beck_bytes){0});
    json_put_word(o, "name", c->m->node);
    json_put_word(o, "type", "disc");
    json_put_flag(o, "running", true);
    json_put_flag(o, "being_drained", false);
    put_resources(c, o);
    put_files(o, t.connections);
    json_put_number(o, "proc_used", t.connections + t.channels + t.queues);
    json_put_number(o, "proc_total", 1048576);
    json_put_number(o, "uptime", clock_wall_ms(clock_system()) - c->m->started_ms);
    json_put_number(o, "run_queue", 0);
    json_put_number(o, "processors", sysconf(_SC_NPROCESSORS_ONLN));
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    json_put_word(o, "os_pid", pid);
    const char *dir = call_context(c)->b->data_dir;
    json_put_word(o, "db_dir", dir ? dir : "");
    static const char *const lists[] = {"partitions",   "cluster_links",   "log_files",
                                        "config_files", "enabled_plugins", "applications"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        json_put(o, lists[i], json_array());
    json_put_word(o, "rates_mode", "basic");
    json_put(o, "exchange_types", exchange_types());
    json_put(o, "auth_mechanisms", mechanisms());
    json_put(o, "contexts", listeners(c, true));
    json_put_number(o, "net_ticktime", 60);
    return o;
}

static void list_nodes(struct call *c)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    list_add(&l, node(c));
    list_answer(&l);
}

static void show_node(struct call *c)
{
    if (bytes_equal_text(call_name(c, 0), c->m->node))
        answer_json(c, 200, list_columns(c, node(c)));
    else
        answer_not_found(c);
}

static void show_memory(struct call *c)
{
    json_t *o = json_object(), *memory = json_object();
    int64_t bytes = resident_bytes();
    if (!bytes_equal_text(call_name(c, 0), c->m->node)) {
        json_decref(o);
        json_decref(memory);
        answer_not_found(c);
        return;
    }
    json_put(memory, "total",
             json_pack("{s:I,s:I,s:I}", "rss", (json_int_t)bytes, "allocated", (json_int_t)bytes,
                       "erlang", (json_int_t)0));
    json_put_word(memory, "strategy", "rss");
    json_put(o, "memory", memory);
    answer_json(c, 200, o);
}

/* ---- who, and what there is ---- */

static json_t *tags_of(const struct call *c)
{
    json_t *list = json_array();
    const char *tags = identity_tags(http_identity(c->r));
    bool named = false;
    while (*tags) {
        size_t len = strcspn(tags, ",");
        named |= len == 13 && memcmp(tags, "administrator", 13) == 0;
        json_array_append_new(list, json_of(bytes_of(tags, len)));
        tags += len + (tags[len] == ',');
    }
    if (c->admin && !named)
        json_array_append_new(list, json_string("administrator"));
    return list;
}

static void whoami(struct call *c)
{
    json_t *o = json_object();
    json_put_word(o, "name", c->user);
    json_put(o, "tags", tags_of(c));
    json_put_flag(o, "is_internal_user", true);
    answer_json(c, 200, o);
}

static void show_auth(struct call *c)
{
    answer_json(c, 200, json_pack("{s:b}", "oauth_enabled", 0));
}

static void show_nothing(struct call *c)
{
    answer_json(c, 200, json_array());
}

static void show_cluster_name(struct call *c)
{
    answer_json(c, 200, json_pack("{s:o}", "name", cluster_name(c)));
}

static void put_cluster_name(struct call *c)
{
    struct buf value;
    beck_bytes name;
    if (!body_text(c, c->body, "name", NULL, &name))
        return;
    buf_init(&value, 4096);
    beck_status status = json_write(json_object_get(c->body, "name"), &value);
    struct parameter_view p = {.name = beck_str("cluster_name"), .value = buf_bytes(&value)};
    if (!status)
        status = broker_put_parameter(c->b, &p, &c->err);
    buf_release(&value);
    answer_done(c, status);
}

static void show_version(struct call *c)
{
    answer_json(c, 200, json_string(call_context(c)->rabbitmq_version));
}

static void do_nothing(struct call *c)
{
    answer_nothing(c, 204);
}

const struct management_route management_routes_overview[] = {
    {"GET", "/api/overview", LEVEL_ANY, false, show_overview, "management.overview"},
    {"GET", "/api/nodes", LEVEL_MONITORING, false, list_nodes, "management.nodes"},
    {"GET", "/api/nodes/{node}", LEVEL_MONITORING, false, show_node, "management.node"},
    {"GET", "/api/nodes/{node}/memory", LEVEL_MONITORING, false, show_memory,
     "management.nodeMemory"},
    {"GET", "/api/cluster-name", LEVEL_ANY, false, show_cluster_name, "management.clusterName"},
    {"GET", "/api/whoami", LEVEL_ANY, false, whoami, "management.whoami"},
    {"GET", "/api/auth", LEVEL_NOBODY, false, show_auth, "management.auth"},
    {"GET", "/api/extensions", LEVEL_ANY, false, show_nothing, "management.extensions"},
    {"GET", "/api/feature-flags", LEVEL_ADMIN, false, show_nothing, "management.featureFlags"},
    {"GET", "/api/deprecated-features", LEVEL_ADMIN, false, show_nothing,
     "management.deprecatedFeatures"},
    {"GET", "/api/deprecated-features/used", LEVEL_ADMIN, false, show_nothing,
     "management.deprecatedFeaturesUsed"},
    {"PUT", "/api/cluster-name", LEVEL_ADMIN, true, put_cluster_name, "management.putClusterName"},
    {"GET", "/api/version", LEVEL_ANY, false, show_version, "management.version"},
    {"POST", "/api/rebalance/queues", LEVEL_ADMIN, false, do_nothing, "management.rebalance"},
    {0}};
