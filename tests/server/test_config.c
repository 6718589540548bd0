/* Reading configurations: what counts, and what is said of every kind of mistake. */
#include "common.h"

#include "server/log.h"

static beck_status load(const char *yaml, const char *const *environment,
                        const struct config_flag *flags, struct settings **out,
                        struct faults *faults, beck_error *err)
{
    size_t count = 0;
    if (yaml) {
        write_file("beck.yaml", yaml);
    }
    while (flags && flags[count].name) {
        count++;
    }
    struct config_sources sources = {.file = yaml ? "beck.yaml" : NULL,
                                     .environment = (char *const *)environment,
                                     .flags = flags,
                                     .flag_count = count};
    faults->len = 0;
    faults->text[0] = 0;
    return config_load(&sources, note_fault, faults, out, err);
}

/* A configuration that is right. */
static struct settings *good(const char *yaml)
{
    static struct faults faults;
    struct settings *s = NULL;
    beck_error err = {0};
    beck_status status = load(yaml, NULL, NULL, &s, &faults, &err);
    if (status) {
        fail_msg("%s\n%s%s", yaml, faults.text, err.text);
    }
    assert_int_equal(faults.len, 0);
    return s;
}

/* ---- values ---- */

static void without_a_source_everything_is_the_default(void **state)
{
    (void)state;
    struct settings *s = good(NULL);
    assert_string_equal(s->data, "beck-data");
    assert_int_equal(s->sync_interval_ms, 0);
    assert_int_equal(s->checkpoint_ms, 5000);
    assert_int_equal(s->retention_check_ms, 10000);
    assert_int_equal(s->http_listen.count, 2);
    assert_string_equal(s->http_listen.at[0], "127.0.0.1:2325");
    assert_string_equal(s->http_listen.at[1], "[::1]:2325");
    assert_int_equal(s->http_tls_listen.count, 0);
    assert_null(s->http.tls_certificate);
    assert_true(s->http_socket);
    assert_int_equal(s->http.body_max, 25 << 20);
    assert_int_equal(s->http.idle_timeout_ms, 75000);
    assert_int_equal(s->log_level, LEVEL_INFO);
    assert_int_equal(s->log_format, LOG_FORMAT_TEXT);
    assert_true(s->access.anonymous_loopback);
    assert_false(s->access.anonymous_remote);
    assert_int_equal(settings_source(s, "http.listen")->origin, ORIGIN_DEFAULT);
    settings_free(s);
}

static void an_empty_file_says_nothing(void **state)
{
    (void)state;
    static const char *const files[] = {"", "# nothing\n", "---\n", "http:\nbuses:\n", "{}", "~"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct settings *s = good(files[i]);
        assert_int_equal(s->http.threads, 2);
        settings_free(s);
    }
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    struct settings *s = good("data: /var/lib/beck\n"
                              "sync_interval: 1s\n"
                              "http:\n"
                              "  listen: [0.0.0.0:8080, '[::]:8080']\n"
                              "  socket: false\n"
                              "  threads: 8\n"
                              "  body_max: 64m\n"
                              "  idle_timeout: 1m30s\n"
                              "log: {level: debug, format: json, file: /tmp/x.log}\n");
    assert_string_equal(s->data, "/var/lib/beck");
    assert_int_equal(s->sync_interval_ms, 1000);
    assert_int_equal(s->http_listen.count, 2);
    assert_string_equal(s->http_listen.at[1], "[::]:8080");
    assert_false(s->http_socket);
    assert_int_equal(s->http.threads, 8);
    assert_int_equal(s->http.body_max, 64 << 20);
    assert_int_equal(s->http.idle_timeout_ms, 90000);
    assert_int_equal(s->log_level, LEVEL_DEBUG);
    assert_int_equal(s->log_format, LOG_FORMAT_JSON);
    assert_string_equal(s->log_file, "/tmp/x.log");
    assert_string_equal(settings_source(s, "http.threads")->name, "beck.yaml:6:12");
    settings_free(s);
}

static void a_name_with_its_section_is_good_on_the_first_level_too(void **state)
{
    (void)state;
    struct settings *s = good("http.threads: 3\nhttp: {pool_threads: 5}\n");
    assert_int_equal(s->http.threads, 3);
    assert_int_equal(s->http.pool_threads, 5);
    settings_free(s);
}

static void lists_may_be_empty_or_one_item(void **state)
{
    (void)state;
    struct settings *s = good("http: {listen: []}\n");
    assert_int_equal(s->http_listen.count, 0);
    settings_free(s);
    s = good("http: {listen: 127.0.0.1:1}\n");
    assert_int_equal(s->http_listen.count, 1);
    settings_free(s);
}

static void buses_and_queues_are_declared(void **state)
{
    (void)state;
    struct settings *s = good("buses:\n"
                              "  orders:\n"
                              "    partitions: 8\n"
                              "    level: written\n"
                              "    codec: zstd\n"
                              "    retention: 30d\n"
                              "  plain:\n"
                              "queues:\n"
                              "  billing:\n"
                              "    attempts: 5\n"
                              "    backoff: list:1s,10s\n"
                              "    deadline: 0\n"
                              "    overflow: refuse\n"
                              "    bindings:\n"
                              "      - {bus: orders, pattern: 'order.*', from: earliest}\n"
                              "      - bus: plain\n");
    const struct bus_setting *buses = s->buses.at;
    assert_int_equal(s->buses.count, 2);
    assert_string_equal(buses[0].record.name, "orders");
    assert_string_equal(buses[0].record.source, "beck.yaml:3:5");
    assert_int_equal(buses[0].options.partitions, 8);
    assert_int_equal(buses[0].options.level, BECK_LEVEL_WRITTEN);
    assert_int_equal(buses[0].options.codec, BECK_CODEC_ZSTD);
    assert_true(buses[0].options.retention_ms == 30 * 86400000LL);
    assert_int_equal(buses[0].options.storage, BECK_STORAGE_DISK);
    assert_int_equal(buses[1].record.given, 0);
    const struct queue_setting *queue = s->queues.at;
    assert_int_equal(s->queues.count, 1);
    assert_int_equal(queue->options.attempts_max, 5);
    assert_int_equal(queue->options.backoff.list_count, 2);
    assert_int_equal(queue->options.deadline_ms, -1);
    assert_int_equal(queue->options.overflow, BECK_OVERFLOW_REFUSE);
    assert_int_equal(queue->bindings.count, 2);
    const struct binding_setting *bindings = queue->bindings.at;
    assert_string_equal(bindings[0].pattern, "order.*");
    assert_int_equal(bindings[0].from.kind, BECK_FROM_EARLIEST);
    assert_string_equal(bindings[1].pattern, "#");
    assert_int_equal(bindings[1].from.kind, BECK_FROM_NOW);
    settings_free(s);
}

static void anchors_save_words(void **state)
{
    (void)state;
    struct settings *s = good("buses:\n  a: &big {partitions: 64}\n  b: *big\n");
    const struct bus_setting *buses = s->buses.at;
    assert_int_equal(buses[1].options.partitions, 64);
    settings_free(s);
}

static void webhooks_and_users_are_declared(void **state)
{
    (void)state;
    write_file("secret", "from a file\n");
    struct settings *s = good("hooks:\n"
                              "  shop:\n"
                              "    provider: stripe\n"
                              "    secrets: [file:secret, 'a,b']\n"
                              "    bus: payments\n"
                              "    tolerance: 0\n"
                              "users:\n"
                              "  ann:\n"
                              "    password: file:secret\n"
                              "    rules: [{bus: 'orders.*', rights: [publish, read]},\n"
                              "            {server: true, rights: [admin]}]\n");
    const struct hook_setting *hook = s->hooks.at;
    assert_int_equal(hook->source.provider, HOOK_STRIPE);
    assert_string_equal(hook->source.name, "shop");
    assert_int_equal(hook->source.secret_count, 2);
    assert_string_equal(hook->source.secrets[0], "from a file");
    assert_string_equal(hook->source.secrets[1], "a,b");
    assert_int_equal(hook->source.tolerance_ms, -1);
    assert_int_equal(hook->source.dedup_window_ms, 86400000);
    const struct user_setting *user = s->users.at;
    assert_string_equal(user->password, "from a file");
    assert_int_equal(user->rules.count, 2);
    settings_free(s);
}

/* ---- precedence ---- */

static void a_flag_goes_before_the_environment_before_the_file_before_the_default(void **state)
{
    (void)state;
    struct faults faults;
    struct settings *s;
    static const char *const environment[] = {"BECK_HTTP_THREADS=5",
                                              "BECK_HTTP_POOL_THREADS=6",
                                              "OTHER=1",
                                              "BECK_HTTP_LISTEN=127.0.0.1:1,127.0.0.1:2",
                                              "BECK_LOG_LEVEL=",
                                              NULL};
    struct config_flag flags[] = {{"http.threads", "7"}, {0}};
    assert_int_equal(load("http: {threads: 3, pool_threads: 3, header_max: 8k}\n"
                          "log: {level: warn}\n",
                          environment, flags, &s, &faults, NULL),
                     BECK_OK);
    assert_int_equal(s->http.threads, 7);
    assert_int_equal(s->http.pool_threads, 6);
    assert_int_equal(s->http.header_max, 8192);
    assert_int_equal(s->http.wait_max_ms, 60000);
    assert_int_equal(s->http_listen.count, 2);
    assert_int_equal(s->log_level, LEVEL_WARN); /* an empty variable is none */
    assert_string_equal(settings_source(s, "http.threads")->name, "--http.threads");
    assert_string_equal(settings_source(s, "http.pool_threads")->name, "BECK_HTTP_POOL_THREADS");
    assert_int_equal(settings_source(s, "http.header_max")->origin, ORIGIN_FILE);
    settings_free(s);
}

static void an_empty_flag_empties_a_list(void **state)
{
    (void)state;
    struct faults faults;
    struct settings *s;
    struct config_flag flags[] = {{"http.listen", ""}, {0}};
    assert_int_equal(load(NULL, NULL, flags, &s, &faults, NULL), BECK_OK);
    assert_int_equal(s->http_listen.count, 0);
    settings_free(s);
}

/* ---- mistakes ---- */

static const struct mistake {
    const char *yaml, *fault;
} mistakes[] = {
    /* names */
    {"htpp: {threads: 1}\n", "beck.yaml:1:1: there is no setting 'htpp': did you mean 'http'?"},
    {"http:\n  thread: 1\n",
     "beck.yaml:2:3: there is no setting 'http.thread': did you mean 'threads'?"},
    {"threads: 1\n", "beck.yaml:1:1: there is no setting 'threads': did you mean 'http.threads'?"},
    {"xyzzy: 1\n", "beck.yaml:1:1: there is no setting 'xyzzy': see beck serve --help"},
    {"buses:\n  a:\n    partitons: 1\n",
     "beck.yaml:3:5: there is no setting 'buses.a.partitons': did you mean 'partitions'?"},
    {"buses: {a: {read-synced: true}}\n",
     "beck.yaml:1:13: there is no setting 'buses.a.read-synced': did you mean 'read_synced'?"},
    {"queues: {q: {bindings: [{buss: a}]}}\n",
     "beck.yaml:1:26: there is no setting 'queues.q.bindings[0].buss': did you mean 'bus'?"},
    {"http: {threads: 1, threads: 2}\n",
     "beck.yaml:1:20: 'threads' comes twice: it is on line 1 already"},
    {"http.threads: 1\nhttp: {threads: 2}\n",
     "beck.yaml:2:8: 'http.threads' comes twice: it is at beck.yaml:1:15 already"},
    {"buses:\n  a: {}\n  a: {}\n", "beck.yaml:3:3: 'a' comes twice: it is on line 2 already"},
    {"? [a]\n: 1\n", "beck.yaml:1:3: a name is expected here, not a list"},
    {"'': 1\n", "beck.yaml:1:1: a name is expected here, not nothing"},
    /* types */
    {"- a\n", "beck.yaml:1:1: 'the file' is a list: a mapping is expected"},
    {"hello\n", "beck.yaml:1:1: 'the file' is a text: a mapping is expected"},
    {"http: 5\n", "beck.yaml:1:7: 'http' is a text: a mapping is expected"},
    {"http: [1]\n", "beck.yaml:1:7: 'http' is a list: a mapping is expected"},
    {"buses: [orders]\n", "beck.yaml:1:8: 'buses' is a list: a mapping is expected"},
    {"buses: {a: 1}\n", "beck.yaml:1:12: 'buses.a' is a text: a mapping is expected"},
    {"http: {threads: [1]}\n", "beck.yaml:1:17: 'http.threads' is a list: give a whole number"},
    {"http: {threads: {a: 1}}\n", "'http.threads' is a mapping: give a whole number"},
    {"http: {listen: {a: 1}}\n", "'http.listen' is a mapping: give a list of ADDRESS:PORT"},
    {"http: {listen: [[a]]}\n", "beck.yaml:1:17: 'http.listen' is a list of texts: this is a list"},
    {"queues: {q: {bindings: {bus: a}}}\n", "'queues.q.bindings' is a mapping: a list is expected"},
    {"queues: {q: {bindings: [a]}}\n", "'queues.q.bindings[0]' is a text: a mapping is expected"},
    {"http:\n  threads:\n",
     "'http.threads' has no value: give a whole number, or take the line out"},
    {"http: {threads: ~}\n", "'http.threads' has no value"},
    {"data: \"a\\0b\"\n", "beck.yaml:1:7: 'data' has a value with a NUL byte"},
    /* values */
    {"http: {threads: many}\n",
     "beck.yaml:1:17: http.threads 'many' cannot be read: give a whole number"},
    {"http: {threads: \"3\\n4\\e[31m\"}\n", "http.threads '3?4?[31m' cannot be read: give a"},
    {"http: {threads: 0}\n", "http.threads '0' is out of range: give 1 to 256"},
    {"http: {threads: 1000000000000000000000}\n", "cannot be read: give a whole number"},
    {"http: {connections_per_address_max: -1}\n", "'-1' is out of range: give 0 to 1000000"},
    {"http: {idle_timeout: 5}\n",
     "http.idle_timeout '5' cannot be read: give a duration such as 10ms, 5s, 2m, 1h or 7d"},
    {"http: {idle_timeout: 1ms}\n", "'1ms' is out of range: give 1s to 1d"},
    {"http: {body_max: 5x}\n",
     "http.body_max '5x' cannot be read: give a size such as 4096, 64k, 1m or 1g"},
    {"amqp: {message_max: 64m}\n", "'64m' is out of range: give 1k to 63m"},
    {"http: {body_max: 2g}\n", "'2g' is out of range: give 1k to 1g"},
    {"http: {socket: yes}\n", "http.socket 'yes' cannot be read: give true or false"},
    {"log: {level: loud}\n",
     "log.level 'loud' is none of its values: give debug, info, warn or error"},
    {"queues: {q: {backoff: linear}}\n", "queues.q.backoff 'linear' cannot be read: give none, "},
    {"queues: {q: {bindings: [{bus: a, from: -10m}]}}\n", "from '-10m' cannot be read: give now, "},
    {"http: {listen: ['']}\n", "http.listen holds an empty item: take it out"},
    /* needs */
    {"queues: {q: {bindings: [{pattern: '#'}]}}\n",
     "'queues.q.bindings[0]' needs 'bus': the bus that feeds the queue"},
    {"hooks: {h: {provider: github}}\n", "'hooks.h' needs 'bus'"},
    {"http: {tls_listen: [':2443']}\n",
     "beck.yaml:1:20: http.tls_listen needs http.tls_certificate and http.tls_key"},
    {"http: {tls_key: beck.yaml}\n", "http.tls_certificate and http.tls_key need each other"},
    {"http: {tls_key: none.pem, tls_certificate: beck.yaml}\n",
     "beck.yaml:1:17: http.tls_key: the file 'none.pem' cannot be read"},
    {"http: {bodies_max: 1m}\n", "http.bodies_max is less than http.body_max"},
    {"data: ''\n", "data is empty: give the path of the data directory"},
    /* meaning */
    {"http: {listen: [nowhere]}\n", "'nowhere' is no address: give ADDRESS:PORT"},
    {"http: {listen: ['example.org:80']}\n", "'example.org:80' is no address of a network"},
    {"http: {listen: ['127.0.0.1:99999']}\n", "has no port: give a number of 0 to 65535"},
    {"buses: {__users: }\n", "kept for beck"},
    {"buses: {a/b: }\n", "beck.yaml:1:14: buses.a/b: \"a/b\" is no name for a bus"},
    {"buses: {a: {storage: memory, partitions: 2}}\n", "a memory bus has one partition"},
    {"queues: {a b: }\n", "\"a b\" is no name for a queue"},
    {"queues: {q: {bindings: [{bus: a, pattern: a..b}]}}\n", "queues.q.bindings[0]: "},
    {"users: {ann: {password: x, rules: [{rights: [read]}]}}\n",
     "users.ann.rules[0]: give one of bus, queue and server"},
    {"users: {ann: {password: x, rules: [{bus: a, rights: [write]}]}}\n",
     "there is no right 'write': give some of publish, read, work, admin, create and describe"},
    {"users: {ann: {password: ''}}\n", "the password is empty"},
    {"users: {'a:b': {password: x}}\n", "\"a:b\" is no name of a user"},
    {"users: {ann: {password: x, rules: [{bus: a, rights: [work]}]}}\n", "users.ann: "},
    {"buses: {m: {storage: memory, codec: zstd}}\n", "beck.yaml:1:12: buses.m: a bus in memory"},
    {"buses: {m: {storage: memory, compact: true}}\n", "take 'compact' out"},
    {"buses: {m: {storage: memory, level: synced}}\n", "take 'level: synced' out"},
    {"buses: {m: {storage: memory}}\nqueues: {q: {storage: disk, bindings: [{bus: m}]}}\n",
     "queues.q.bindings[0]: the queue is on disk and bus 'm' in memory"},
    {"queues: {q: {run: [no-such-program]}}\n", "no program 'no-such-program'"},
    {"queues: {q: {run: [./none], run_directory: /usr}}\n", "no program '/usr/./none'"},
    {"queues: {q: {run: [sh], run_directory: /no/where}}\n", "\"/no/where\" is no directory"},
    {"queues: {q: {run: [sh], run_user: nobody-at-all}}\n", "there is no user \"nobody-at-all\""},
    {"log: {file: nowhere/log}\n", "beck.yaml:1:13: log.file: there is no directory 'nowhere'"},
    {"hooks: {h: {provider: github, bus: b, secrets: [x], svix: true}}\n",
     "svix is for provider: standard"},
    /* secrets */
    {"users: {ann: {password: 'file:nowhere'}}\n",
     "users.ann.password the file 'nowhere' of the secret cannot be read: No such file"},
    {"users: {ann: {password: 'file:empty'}}\n", "the file 'empty' holds no secret"},
    {"users: {ann: {password: 'file:/dev/zero'}}\n", "holds no secret"},
    /* no YAML */
    {"a: b: c\n", "beck.yaml:1:5: this is no YAML: mapping values are not allowed"},
    {"http: {threads: 1\n", "beck.yaml:2:1: this is no YAML: did not find expected"},
    {"\ta: 1\n", "beck.yaml:1:1: this is no YAML: found character that cannot start any token"},
    {"a: *b\n", "this is no YAML: found undefined alias"},
    {"data: \xff\n", "this is no YAML: invalid leading UTF-8 octet"},
    {"data: a\n---\ndata: b\n", "a second document begins here"},
};

static void every_mistake_is_told_with_its_place(void **state)
{
    (void)state;
    write_file("empty", "");
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct faults faults;
        struct settings *s = NULL;
        beck_error err = {0};
        beck_status status = load(mistakes[i].yaml, NULL, NULL, &s, &faults, &err);
        if (status != BECK_EINVAL || !strstr(faults.text, mistakes[i].fault)) {
            fail_msg("%s\nis told as: %s\nand not as: %s", mistakes[i].yaml, faults.text,
                     mistakes[i].fault);
        }
        assert_null(s);
        assert_string_equal(err.text, "the configuration has 1 mistake: nothing was done");
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    (void)state;
    struct faults faults;
    struct settings *s;
    beck_error err;
    static const char *const environment[] = {"BECK_HTTP_THREADS=x", NULL};
    struct config_flag flags[] = {{"log.level", "loud"}, {0}};
    assert_int_equal(
        load("http: {threads: 0, socket: 1}\nbuse: {}\n", environment, flags, &s, &faults, &err),
        BECK_EINVAL);
    assert_string_equal(faults.text,
                        "beck.yaml:1:17: http.threads '0' is out of range: give 1 to 256\n"
                        "beck.yaml:1:28: http.socket '1' cannot be read: give true or false\n"
                        "beck.yaml:2:1: there is no setting 'buse': did you mean 'buses'?\n"
                        "BECK_HTTP_THREADS 'x' cannot be read: give a whole number\n"
                        "--log.level 'loud' is none of its values: give debug, info, warn or "
                        "error\n");
    assert_string_equal(err.text, "the configuration has 5 mistakes: nothing was done");
}

static void a_file_that_is_not_there_or_too_large_is_told(void **state)
{
    (void)state;
    struct faults faults = {0};
    struct settings *s;
    beck_error err;
    struct config_sources sources = {.file = "nowhere.yaml"};
    assert_int_equal(config_load(&sources, note_fault, &faults, &s, &err), BECK_ENOENT);
    assert_non_null(strstr(err.text, "the configuration file 'nowhere.yaml' cannot be opened"));
    sources.file = "/dev/zero";
    assert_int_equal(config_load(&sources, note_fault, &faults, &s, &err), BECK_ELIMIT);
    assert_non_null(strstr(err.text, "at most 1048576 bytes"));
    sources.file = "/";
    assert_int_equal(config_load(&sources, note_fault, &faults, &s, &err), BECK_EIO);
}

static void cyclic_and_growing_aliases_cost_nothing(void **state)
{
    (void)state;
    struct faults faults;
    struct settings *s;
    assert_int_equal(load("http: {listen: &a [*a]}\n", NULL, NULL, &s, &faults, NULL), BECK_EINVAL);
    assert_int_equal(load("a: &a [x,x,x,x,x,x,x,x,x]\n"
                          "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                          "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                          "http: {listen: *c}\n",
                          NULL, NULL, &s, &faults, NULL),
                     BECK_EINVAL);
}

static void mistyped_variables_are_warned_of(void **state)
{
    (void)state;
    struct faults faults = {0};
    static const char *const environment[] = {"BECK_HTTP_LISTN=x",
                                              "BECK_HTTP_LISTEN=:1",
                                              "BECK_PORT=tcp://x",
                                              "BECK_SERVICE_HOST=10.0",
                                              "BECK_DATA=d",
                                              "BECK_CONFIG=c",
                                              "BECK_CONFG=c",
                                              "BECK_DATA_DIRECTORY=d",
                                              "BECK_HTTP_PORT_2325_TCP=tcp://x",
                                              "BECK_QUEUE=q",
                                              NULL};
    struct config_sources sources = {.environment = (char *const *)environment};
    config_warn(&sources, note_fault, &faults);
    assert_string_equal(faults.text,
                        "the environment variable BECK_HTTP_LISTN is no setting: did "
                        "you mean BECK_HTTP_LISTEN?\n"
                        "the environment variable BECK_CONFG is no setting: did you "
                        "mean BECK_CONFIG?\n"
                        "the environment variable BECK_DATA_DIRECTORY is no setting, and "
                        "does nothing: see beck serve --help\n");
}

/* ---- printing ---- */

static void what_is_printed_is_read_again_as_the_same(void **state)
{
    (void)state;
    struct settings *s = good("data: 'a b: c'\n"
                              "http: {listen: [':1'], threads: 3, body_max: 1536}\n"
                              "log: {file: 'true'}\n"
                              "buses:\n  orders: {retention: 1h30m, compact: true}\n  plain:\n"
                              "  'on': {partitions: 2}\n"
                              "queues:\n  q: {deadline: 0, backoff: 'fixed:5s',\n"
                              "    bindings: [{bus: orders, pattern: 'a.#', from: 12}]}\n");
    struct buf first, second;
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    assert_int_equal(config_print(s, &first), BECK_OK);
    settings_free(s);
    assert_int_equal(buf_terminate(&first), BECK_OK);
    s = good((const char *)first.data);
    assert_string_equal(s->data, "a b: c");
    assert_string_equal(s->log_file, "true");
    assert_int_equal(s->http.body_max, 1536);
    assert_int_equal(s->buses.count, 3);
    assert_int_equal(((struct queue_setting *)s->queues.at)->options.deadline_ms, -1);
    for (size_t i = 0; i < settings_row_count; i++) {
        s->sources[i].origin = ORIGIN_DEFAULT; /* comments are not of interest here */
    }
    assert_int_equal(config_print(s, &second), BECK_OK);
    settings_free(s);
    buf_clear(&first);
    s = NULL;
    assert_int_equal(buf_terminate(&second), BECK_OK);
    s = good((const char *)second.data);
    for (size_t i = 0; i < settings_row_count; i++) {
        s->sources[i].origin = ORIGIN_DEFAULT;
    }
    assert_int_equal(config_print(s, &first), BECK_OK);
    assert_int_equal(buf_terminate(&first), BECK_OK);
    assert_string_equal((char *)first.data, (char *)second.data);
    settings_free(s);
    buf_release(&first);
    buf_release(&second);
}

static void what_is_printed_says_where_it_came_from_and_no_secret(void **state)
{
    (void)state;
    struct settings *s = good("http:\n  threads: 3\n"
                              "hooks: {h: {provider: github, bus: b, secrets: [tell-nobody]}}\n"
                              "users: {u: {password: tell-nobody-either}}\n");
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(config_print(s, &out), BECK_OK);
    assert_int_equal(buf_terminate(&out), BECK_OK);
    assert_null(strstr((char *)out.data, "tell-nobody"));
    assert_non_null(strstr((char *)out.data, "secrets: [\"***\"]"));
    assert_non_null(strstr((char *)out.data, "password: \"***\""));
    assert_non_null(strstr((char *)out.data, "  threads: 3 # file beck.yaml:2:12\n"));
    assert_non_null(strstr((char *)out.data, "  pool_threads: 4\n"));
    settings_free(s);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_source_everything_is_the_default),
        cmocka_unit_test(an_empty_file_says_nothing),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(a_name_with_its_section_is_good_on_the_first_level_too),
        cmocka_unit_test(lists_may_be_empty_or_one_item),
        cmocka_unit_test(buses_and_queues_are_declared),
        cmocka_unit_test(anchors_save_words),
        cmocka_unit_test(webhooks_and_users_are_declared),
        cmocka_unit_test(a_flag_goes_before_the_environment_before_the_file_before_the_default),
        cmocka_unit_test(an_empty_flag_empties_a_list),
        cmocka_unit_test(every_mistake_is_told_with_its_place),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(a_file_that_is_not_there_or_too_large_is_told),
        cmocka_unit_test(cyclic_and_growing_aliases_cost_nothing),
        cmocka_unit_test(mistyped_variables_are_warned_of),
        cmocka_unit_test(what_is_printed_is_read_again_as_the_same),
        cmocka_unit_test(what_is_printed_says_where_it_came_from_and_no_secret),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
