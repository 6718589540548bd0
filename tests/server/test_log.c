/* The log: what lines look like, and that nobody waits for whoever reads it. */
#include "common.h"

#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

static void read_file(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = 0;
    fclose(file);
}

/* What one line is written as, without its time. */
static const char *written(enum log_format format, const char *what, const struct log_field *fields,
                           size_t count)
{
    static char text[8192];
    struct log *log;
    unlink("log");
    assert_int_equal(log_open("log", LEVEL_INFO, format, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    log_line(log, LEVEL_INFO, what, fields, count);
    log_close(log);
    read_file("log", text, sizeof text);
    size_t begin = format == LOG_FORMAT_JSON ? strlen("{\"time\":\"") : 0;
    assert_true(strlen(text) > begin + 24 && text[begin + 23] == 'Z' && text[begin + 10] == 'T');
    return text + begin + 24;
}

static void lines_for_people(void **state)
{
    (void)state;
    struct log_field fields[] = {LOG_TEXT("address", "[::1]:2325"), LOG_NUMBER("n", -5),
                                 LOG_TEXT("why", "two words\n\"and\" more\x1b[31m"),
                                 LOG_TEXT("empty", "")};
    assert_string_equal(written(LOG_FORMAT_TEXT, "listening", fields, 4),
                        " info listening address=[::1]:2325 n=-5 "
                        "why=\"two words\\n\\\"and\\\" more\\u001b[31m\" empty=\"\"\n");
}

static void lines_for_machines(void **state)
{
    (void)state;
    struct log_field fields[] = {LOG_TEXT("address", "[::1]:2325"), LOG_NUMBER("n", -5),
                                 LOG_TEXT("bad", "\xff\n")};
    assert_string_equal(
        written(LOG_FORMAT_JSON, "listening", fields, 3),
        "\",\"level\":\"info\",\"message\":\"listening\",\"address\":\"[::1]:2325\","
        "\"n\":-5,\"bad\":\"\xef\xbf\xbd\\n\"}\n");
}

static void texts_from_outside_are_cut(void **state)
{
    (void)state;
    char *text = malloc(100001);
    assert_non_null(text);
    memset(text, 'x', 100000);
    text[100000] = 0;
    struct log_field field = LOG_TEXT("target", text);
    assert_int_equal(strlen(written(LOG_FORMAT_TEXT, "request", &field, 1)),
                     strlen(" info request target=") + 2048 + 1);
    free(text);
}

static void levels_below_are_left_out(void **state)
{
    (void)state;
    struct log *log;
    char text[1024];
    assert_int_equal(log_open("levels", LEVEL_WARN, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    assert_false(log_wants(log, LEVEL_INFO));
    assert_true(log_wants(log, LEVEL_ERROR));
    assert_false(log_wants(NULL, LEVEL_ERROR));
    LOG(log, LEVEL_INFO, "no");
    LOG(log, LEVEL_WARN, "yes");
    assert_int_equal(log_reopen(log, "levels", LEVEL_DEBUG, LOG_FORMAT_TEXT, NULL), BECK_OK);
    LOG(log, LEVEL_DEBUG, "now too");
    log_close(log);
    read_file("levels", text, sizeof text);
    assert_null(strstr(text, "info no"));
    assert_non_null(strstr(text, "warn yes"));
    assert_non_null(strstr(text, "debug now too"));
}

static void a_file_that_was_moved_away_is_made_anew(void **state)
{
    (void)state;
    struct log *log;
    char text[1024];
    assert_int_equal(log_open("rotated", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    LOG(log, LEVEL_INFO, "first");
    assert_int_equal(rename("rotated", "rotated.1"), 0);
    assert_int_equal(log_reopen(log, "rotated", LEVEL_INFO, LOG_FORMAT_JSON, NULL), BECK_OK);
    LOG(log, LEVEL_INFO, "second");
    beck_error err;
    assert_int_not_equal(log_reopen(log, "no/such/dir", LEVEL_INFO, LOG_FORMAT_TEXT, &err),
                         BECK_OK);
    assert_non_null(strstr(err.text, "the log file 'no/such/dir' cannot be opened"));
    LOG(log, LEVEL_INFO, "third");
    log_close(log);
    read_file("rotated", text, sizeof text);
    assert_non_null(strstr(text, "\"second\""));
    assert_non_null(strstr(text, "\"third\""));
}

/* The lines that were read whole, and those that are said to be missing. */
static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, "line text=")) && strchr(p, '\n'); p++) {
        count++;
    }
    for (const char *p = text; (p = strstr(p, " lines=")) && strchr(p, '\n'); p++) {
        count += strtoul(p + strlen(" lines="), NULL, 10);
    }
    return count;
}

/* Into a pipe that nobody reads: it and the buffers of a log hold less than 1 MiB. */
#define MORE_THAN_FITS 1000

static void log_more_than_fits(struct log *log, const char *text)
{
    for (int i = 0; i < MORE_THAN_FITS; i++) {
        LOG(log, LEVEL_INFO, "line", LOG_TEXT("text", text));
    }
}

/* A pipe that nobody reads: lines are dropped and counted, whoever logs goes on, and the end comes.
 * Then somebody reads, and is told how many are missing. */
static void a_full_pipe_costs_lines_and_not_time(void **state)
{
    (void)state;
    struct log *log;
    char big[1500];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    int reader = open("pipe", O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(log_open("pipe", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    log_more_than_fits(log, big);
    size_t len = 0;
    char *text = calloc(1, 4 << 20);
    assert_non_null(text);
    /* Each drop is told by the buffer after the one that was full: all lines come, or are counted. */
    while (count_lines(text) < MORE_THAN_FITS) {
        struct pollfd readable = {.fd = reader, .events = POLLIN};
        assert_true(poll(&readable, 1, -1) == 1);
        ssize_t n = read(reader, text + len, (4 << 20) - len - 1);
        assert_true(n > 0);
        len += (size_t)n;
    }
    log_close(log);
    assert_int_equal(count_lines(text), MORE_THAN_FITS);
    assert_non_null(strstr(text, "log lines were dropped"));
    assert_int_equal(read(reader, text, 1), 0);
    close(reader);
    free(text);
}

static void a_reader_that_never_reads_does_not_hold_up_the_end(void **state)
{
    (void)state;
    struct log *log;
    char big[1500];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(mkfifo("stuck", 0600), 0);
    int reader = open("stuck", O_RDONLY | O_NONBLOCK);
    assert_int_equal(log_open("stuck", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    log_more_than_fits(log, big);
    log_close(log);
    close(reader);
}

static void a_reader_that_left_is_no_fault(void **state)
{
    (void)state;
    struct log *log;
    assert_int_equal(mkfifo("left", 0600), 0);
    int reader = open("left", O_RDONLY | O_NONBLOCK);
    assert_int_equal(log_open("left", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    close(reader);
    for (int i = 0; i < 1000; i++) {
        LOG(log, LEVEL_INFO, "line");
    }
    log_close(log);
}

static void without_its_thread_lines_are_written_at_the_end(void **state)
{
    (void)state;
    struct log *log;
    char text[1024];
    assert_int_equal(log_open("early", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    LOG(log, LEVEL_ERROR, "it ended before it began");
    log_close(log);
    read_file("early", text, sizeof text);
    assert_non_null(strstr(text, " error it ended before it began\n"));
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        LOG(arg, LEVEL_INFO, "line", LOG_NUMBER("i", i));
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct log *log;
    pthread_t threads[THREADS];
    assert_int_equal(log_open("many", LEVEL_INFO, LOG_FORMAT_TEXT, &log, NULL), BECK_OK);
    assert_int_equal(log_start(log, NULL), BECK_OK);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, log), 0);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(log_reopen(log, "many", LEVEL_INFO, LOG_FORMAT_TEXT, NULL), BECK_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    log_close(log);
    FILE *file = fopen("many", "r");
    assert_non_null(file);
    char line[200];
    uint64_t count = 0;
    while (fgets(line, sizeof line, file)) {
        const char *dropped = strstr(line, " lines=");
        assert_string_equal(dropped || strstr(line, " info line i=") ? "good" : line, "good");
        count += dropped ? strtoul(dropped + strlen(" lines="), NULL, 10) : 1;
    }
    fclose(file);
    assert_int_equal(count, THREADS * 2000);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_for_people),
        cmocka_unit_test(lines_for_machines),
        cmocka_unit_test(texts_from_outside_are_cut),
        cmocka_unit_test(levels_below_are_left_out),
        cmocka_unit_test(a_file_that_was_moved_away_is_made_anew),
        cmocka_unit_test(a_full_pipe_costs_lines_and_not_time),
        cmocka_unit_test(a_reader_that_never_reads_does_not_hold_up_the_end),
        cmocka_unit_test(a_reader_that_left_is_no_fault),
        cmocka_unit_test(without_its_thread_lines_are_written_at_the_end),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
