/* Heads of requests and bodies in chunks, as they may come and as they must not. */
#include "wire/http/chunked.h"
#include "wire/http/head.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#define MAX 16384

struct parsed {
    char text[MAX];
    struct head_field fields[HEAD_FIELDS_MAX];
    struct head head;
    struct head_fault fault;
    size_t len;
};

/* All at once; the status of the refusal, or 0. */
static int parse(struct parsed *p, const char *text)
{
    struct head_scan scan = {0};
    *p = (struct parsed){0};
    p->len = head_find(&scan, beck_str(text), MAX, &p->fault);
    if (p->len == 0)
        return p->fault.status;
    memcpy(p->text, text, p->len);
    head_read(p->text, p->len, p->fields, &p->head, &p->fault);
    return p->fault.status;
}

static void what_a_head_says(void **state)
{
    static struct parsed p;
    (void)state;
    assert_int_equal(parse(&p, "POST /a?b=c HTTP/1.1\r\nHost: x:1\r\nEmpty:\r\nX-Y:\t a  b \t\r\n"
                               "Connection: keep-alive,, Close\r\n\r\nbody"),
                     0);
    assert_int_equal(p.text[p.len - 1], '\n');
    assert_string_equal(p.head.method, "POST");
    assert_string_equal(p.head.target, "/a?b=c");
    assert_int_equal(p.head.minor, 1);
    assert_int_equal(p.head.count, 4);
    assert_string_equal(head_value(&p.head, "host"), "x:1");
    assert_string_equal(head_value(&p.head, "EMPTY"), "");
    assert_string_equal(head_value(&p.head, "x-y"), "a  b");
    assert_null(head_value(&p.head, "x-z"));
    assert_true(head_lists(&p.head, "connection", "close"));
    assert_true(head_lists(&p.head, "Connection", "Keep-Alive"));
    assert_false(head_lists(&p.head, "Connection", "keep"));
}

static void heads_that_are_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\n\r\n", 400},
        {"GET /\tHTTP/1.1\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / http/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.10\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"\x16\x03\x01\r\n\r\n", 400},
    };
    static struct parsed p;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = parse(&p, cases[i].text);
        if (status != cases[i].status)
            fail_msg("%d, not %d, to %s", status, cases[i].status, cases[i].text);
    }
}

static void heads_that_are_too_long(void **state)
{
    struct head_scan scan = {0};
    struct head_fault fault = {0};
    static char text[MAX + 1];
    (void)state;
    memset(text, 'a', sizeof text);
    assert_int_equal(head_find(&scan, bytes_of(text, HEAD_LINE_MAX), MAX, &fault), 0);
    assert_null(fault.why);
    assert_int_equal(head_find(&scan, bytes_of(text, HEAD_LINE_MAX + 1), MAX, &fault), 0);
    assert_int_equal(fault.status, 414);
    memcpy(text, "GET / HTTP/1.1\r\n", 16);
    scan = (struct head_scan){0};
    assert_int_equal(head_find(&scan, bytes_of(text, MAX), MAX, &fault), 0);
    assert_int_equal(fault.status, 431);
    size_t len = 16;
    for (int i = 0; i <= HEAD_FIELDS_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "a: b\r\n");
    fault = (struct head_fault){0};
    scan = (struct head_scan){0};
    assert_int_equal(head_find(&scan, bytes_of(text, len - 6), MAX, &fault), 0);
    assert_null(fault.why);
    assert_int_equal(head_find(&scan, bytes_of(text, len), MAX, &fault), 0);
    assert_int_equal(fault.status, 431);
}

/* What is looked at once is not looked at again, wherever the bytes are cut. */
static void a_head_that_comes_in_pieces(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)state;
    struct head_scan scan = {0};
    struct head_fault fault = {0};
    for (size_t i = 1; i < sizeof text - 1; i++) {
        assert_int_equal(head_find(&scan, bytes_of(text, i), MAX, &fault), 0);
        assert_null(fault.why);
    }
    assert_int_equal(head_find(&scan, beck_str(text), MAX, &fault), sizeof text - 1);
    assert_int_equal(scan.lines, 2);
}

static enum chunked_result read_chunks(const char *text, struct buf *out, size_t *taken)
{
    struct chunked c = {0};
    beck_bytes rest = beck_str(text), data = {0};
    enum chunked_result result;
    while ((result = chunked_next(&c, &rest, &data)) == CHUNKED_DATA)
        assert_int_equal(buf_append(out, data.data, data.len), BECK_OK);
    *taken = strlen(text) - rest.len;
    return result;
}

static void bodies_in_chunks(void **state)
{
    static const struct {
        const char *text;
        enum chunked_result result;
        const char *data;
    } cases[] = {
        {"0\r\n\r\n", CHUNKED_END, ""},
        {"3\r\nabc\r\n0\r\n\r\n", CHUNKED_END, "abc"},
        {"0003;x=\"y\"\r\nabc\r\n1\r\nd\r\n00\r\nA: b\r\nC: d\r\n\r\n", CHUNKED_END, "abcd"},
        {"A\r\n0123456789\r\n", CHUNKED_MORE, "0123456789"},
        {"3\r\nab", CHUNKED_MORE, "ab"},
        {"3\nabc\r\n", CHUNKED_BAD, ""},
        {"3 \r\nabc\r\n", CHUNKED_BAD, ""},
        {"\r\n", CHUNKED_BAD, ""},
        {"+3\r\nabc\r\n", CHUNKED_BAD, ""},
        {"0x3\r\nabc\r\n", CHUNKED_BAD, ""},
        {"3\r\nabcd\r\n", CHUNKED_BAD, "abc"},
        {"3\r\nabc\n", CHUNKED_BAD, "abc"},
        {"3;x\ny\r\nabc\r\n", CHUNKED_BAD, ""},
        {"0\r\nA: b\n\r\n", CHUNKED_BAD, ""},
        {"0\r\n\rx", CHUNKED_BAD, ""},
        {"fffffffffffffffff\r\n", CHUNKED_TOO_LONG, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        size_t taken;
        buf_init(&out, 1024);
        enum chunked_result result = read_chunks(cases[i].text, &out, &taken);
        if (result != cases[i].result || !bytes_equal_text(buf_bytes(&out), cases[i].data))
            fail_msg("%d, not %d, to %s", (int)result, (int)cases[i].result, cases[i].text);
        if (result == CHUNKED_END)
            assert_int_equal(taken, strlen(cases[i].text));
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_head_says),        cmocka_unit_test(heads_that_are_refused),
        cmocka_unit_test(heads_that_are_too_long), cmocka_unit_test(a_head_that_comes_in_pieces),
        cmocka_unit_test(bodies_in_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
