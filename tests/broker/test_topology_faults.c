/* Declaring when the disk or memory fails: what was answered lasts, and what was refused can be asked again. */
#include "broker/place.h"
#include "support/failing_malloc.h"

/* What is done one after the other, and how it looks after each. All can be done again. */
static int step_of(struct session *s, int i, const char *queues, char *text)
{
    switch (i) {
    case 0:
        return exchange(s, "x", "topic", "d", NULL, text);
    case 1:
        return queue(s, "q", queues, text);
    case 2:
        return bind_to(s, "x", "q", "k", text);
    case 3:
        return exchange(s, "y", "fanout", "d", NULL, text);
    case 4:
        return bind_to(s, "x", "@y", "#", text);
    case 5:
        return queue(s, "r", queues, text);
    case 6:
        return bind_to(s, "y", "r", "", text);
    case 7:
        return unbind_from(s, "x", "q", "k", text);
    case 8:
        return session_delete_exchange(s, beck_str("y"), false, text);
    case 9:
        return delete_queue(s, "q", text);
    default:
        return queue(s, "q", queues, text);
    }
}
#define STEPS 11

static int step(struct session *s, int i, char *text)
{
    return step_of(s, i, "d", text);
}

static const char *const looks[STEPS + 1] = {"?",         "|x",      "|x q",      "q|x q",
                                             "q|x q y",   "q|x q y", "q|x q y r", "q r|x q y r",
                                             "r|x q y r", "|x q r",  "|x r",      "|x q r"};

/* What gets a message, and what there is. */
static const char *look(struct place *p, char out[200])
{
    char why[BROKER_TEXT];
    if (exchange(p->s, "x", "", "p", NULL, why))
        return strcpy(out, "?");
    snprintf(out, 200, "%s|x", route(p, "x", "k"));
    if (!queue(p->s, "q", "p", why))
        strcat(out, " q");
    if (!exchange(p->s, "y", "", "p", NULL, why))
        strcat(out, " y");
    if (!queue(p->s, "r", "p", why))
        strcat(out, " r");
    return out;
}

static void expect_look(struct place *p, int done)
{
    char now[200];
    look(p, now);
    if (strcmp(now, looks[done]) != 0 && (done == STEPS || strcmp(now, looks[done + 1]) != 0))
        fail_msg("after %d steps: %s", done, now);
}

static void go_on(struct place *p, int from)
{
    char now[200];
    for (int i = from; i < STEPS; i++)
        accepted(step(p->s, i, text));
    assert_string_equal(look(p, now), looks[STEPS]);
}

static void what_was_answered_lasts_wherever_the_power_goes(void **state)
{
    bool all = false;
    (void)state;
    for (uint64_t nth = 1; !all; nth++) {
        struct place p;
        int done = 0;
        char why[BROKER_TEXT];
        place_start(&p, nth);
        vfs_sim_stop_at(p.w.vfs, nth);
        while (done < STEPS && step(p.s, done, why) == 0)
            done++;
        all = done == STEPS;
        place_crash(&p);
        expect_look(&p, done);
        go_on(&p, done);
        place_reopen(&p);
        go_on(&p, STEPS - 1);
        place_end(&p);
    }
}

static void what_a_full_disk_refuses_can_be_asked_again(void **state)
{
    bool all = false;
    (void)state;
    for (uint64_t nth = 1; !all; nth++) {
        struct place p;
        int done = 0;
        char why[BROKER_TEXT];
        place_start(&p, nth);
        vfs_sim_fail(p.w.vfs, VFS_OP_WRITE | VFS_OP_OPEN | VFS_OP_MKDIR, nth, true, BECK_EFULL);
        while (done < STEPS && step(p.s, done, why) == 0)
            done++;
        all = done == STEPS;
        vfs_sim_fail(p.w.vfs, 0, 0, false, BECK_OK);
        expect_look(&p, done);
        go_on(&p, done);
        place_reopen(&p);
        go_on(&p, STEPS - 1);
        place_end(&p);
    }
}

/* With queues in memory: those of the disk are the engine's to test. */
static void what_memory_does_not_suffice_for_can_be_asked_again(void **state)
{
    bool all = false;
    (void)state;
    for (long nth = 1; !all; nth++) {
        struct place p;
        int done = 0;
        char why[BROKER_TEXT], now[200];
        place_start(&p, 1);
        failing_malloc_at(nth, false);
        while (done < STEPS && step_of(p.s, done, "", why) == 0)
            done++;
        all = done == STEPS && failing_malloc_count() < nth;
        failing_malloc_at(0, false);
        expect_look(&p, done);
        for (int i = done; i < STEPS; i++)
            accepted(step_of(p.s, i, "", text));
        assert_string_equal(look(&p, now), looks[STEPS]);
        place_reopen(&p);
        assert_string_equal(look(&p, now), looks[1]);
        place_end(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_answered_lasts_wherever_the_power_goes),
        cmocka_unit_test(what_a_full_disk_refuses_can_be_asked_again),
        cmocka_unit_test(what_memory_does_not_suffice_for_can_be_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
