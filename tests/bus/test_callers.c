/* Slots of threads, sections, and what is retired while they run. */
#include "bus/callers.h"
#include "base/bytes.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct callers *made(void)
{
    struct callers *c = NULL;
    beck_error err;
    assert_int_equal(callers_new(&c, &err), BECK_OK);
    return c;
}

static void count_release(void *object)
{
    atomic_fetch_add((_Atomic(int) *)object, 1);
}

static void until(_Atomic(int) *value, int wanted)
{
    while (atomic_load(value) != wanted)
        sched_yield();
}

/* ---- slots ---- */

static void *self_of(void *c)
{
    return callers_self(c);
}

static struct caller *self_of_new_thread(struct callers *c)
{
    pthread_t thread;
    void *self;
    assert_int_equal(pthread_create(&thread, NULL, self_of, c), 0);
    assert_int_equal(pthread_join(thread, &self), 0);
    return self;
}

static void test_a_thread_keeps_its_slot(void **state)
{
    (void)state;
    struct callers *c = made();
    struct caller *self = callers_self(c);
    assert_non_null(self);
    assert_ptr_equal(callers_self(c), self);
    callers_free(c);
}

static void test_threads_and_handles_have_slots_of_their_own(void **state)
{
    (void)state;
    struct callers *c = made(), *other = made();
    struct caller *self = callers_self(c);
    assert_ptr_not_equal(self, self_of_new_thread(c));
    assert_ptr_not_equal(self, callers_self(other));
    callers_free(c);
    callers_free(other);
}

static void test_the_slot_of_an_ended_thread_is_used_again(void **state)
{
    (void)state;
    struct callers *c = made();
    struct caller *first = self_of_new_thread(c);
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(self_of_new_thread(c), first);
    callers_free(c);
}

static _Atomic(int) local_released;

static void release_local(void *local)
{
    (void)local;
    atomic_fetch_add(&local_released, 1);
}

static void *with_local(void *c)
{
    struct caller *self = callers_self(c);
    self->local = self;
    self->local_release = release_local;
    return NULL;
}

static void test_memory_of_a_thread_goes_with_it(void **state)
{
    (void)state;
    struct callers *c = made();
    pthread_t thread;
    atomic_store(&local_released, 0);
    assert_int_equal(pthread_create(&thread, NULL, with_local, c), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&local_released), 1);
    with_local(c);
    callers_free(c);
    assert_int_equal(atomic_load(&local_released), 2);
}

static void test_handled_events_are_a_stack(void **state)
{
    (void)state;
    struct callers *c = made();
    struct caller *self = callers_self(c);
    beck_event outer = {.type = beck_str("outer")}, inner = {.type = beck_str("inner")};
    struct caller_frame first, second;
    assert_null(caller_current(self));
    caller_push(self, &first, &outer);
    assert_ptr_equal(caller_current(self), &outer);
    caller_push(self, &second, &inner);
    assert_ptr_equal(caller_current(self), &inner);
    caller_pop(self, &second);
    assert_ptr_equal(caller_current(self), &outer);
    caller_pop(self, &first);
    assert_null(caller_current(self));
    callers_free(c);
}

static void test_generations_are_given_once(void **state)
{
    (void)state;
    struct callers *c = made();
    uint64_t first = callers_generation(c);
    assert_true(first > 0);
    assert_true(callers_generation(c) > first);
    callers_free(c);
}

/* ---- retiring ---- */

static void test_without_sections_release_is_at_once(void **state)
{
    (void)state;
    struct callers *c = made();
    _Atomic(int) released = 0;
    callers_retire(c, &released, count_release, false);
    assert_int_equal(released, 1);
    callers_retire(c, &released, count_release, true);
    assert_int_equal(released, 2);
    callers_self(c);
    callers_retire(c, &released, count_release, false);
    assert_int_equal(released, 3);
    callers_free(c);
    assert_int_equal(released, 3);
}

static void test_release_waits_for_the_end_of_the_own_outermost_section(void **state)
{
    (void)state;
    struct callers *c = made();
    struct caller *self = callers_self(c);
    _Atomic(int) released = 0;
    caller_enter(self);
    caller_enter(self);
    callers_retire(c, &released, count_release, false);
    callers_retire(c, &released, count_release, false);
    assert_int_equal(released, 0);
    caller_leave(self);
    assert_true(caller_in_section(self));
    assert_int_equal(released, 0);
    caller_leave(self);
    assert_false(caller_in_section(self));
    assert_int_equal(released, 2);
    callers_free(c);
}

/* A thread that is in a section until it is told to leave. */
struct stayer {
    struct callers *callers;
    pthread_t thread;
    _Atomic(int) stage; /* 1: inside, 2: may leave, 3: about to leave */
};

static void *stay(void *arg)
{
    struct stayer *s = arg;
    struct caller *self = callers_self(s->callers);
    caller_enter(self);
    atomic_store(&s->stage, 1);
    until(&s->stage, 2);
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_store(&s->stage, 3);
    caller_leave(self);
    return NULL;
}

static void stayer_start(struct stayer *s, struct callers *c)
{
    s->callers = c;
    atomic_init(&s->stage, 0);
    assert_int_equal(pthread_create(&s->thread, NULL, stay, s), 0);
    until(&s->stage, 1);
}

static void test_release_waits_for_sections_of_other_threads(void **state)
{
    (void)state;
    struct callers *c = made();
    struct stayer stayer;
    _Atomic(int) released = 0;
    stayer_start(&stayer, c);
    callers_retire(c, &released, count_release, false);
    assert_int_equal(released, 0);
    /* A section that began after the retirement neither hinders nor causes the release. */
    struct caller *self = callers_self(c);
    caller_enter(self);
    caller_leave(self);
    assert_int_equal(released, 0);
    caller_enter(self);
    atomic_store(&stayer.stage, 2);
    assert_int_equal(pthread_join(stayer.thread, NULL), 0);
    assert_int_equal(released, 1);
    caller_leave(self);
    callers_free(c);
}

static void test_of_two_old_sections_the_last_releases(void **state)
{
    (void)state;
    struct callers *c = made();
    struct stayer one, two;
    _Atomic(int) released = 0;
    stayer_start(&one, c);
    stayer_start(&two, c);
    callers_retire(c, &released, count_release, false);
    atomic_store(&one.stage, 2);
    assert_int_equal(pthread_join(one.thread, NULL), 0);
    assert_int_equal(released, 0);
    atomic_store(&two.stage, 2);
    assert_int_equal(pthread_join(two.thread, NULL), 0);
    assert_int_equal(released, 1);
    callers_free(c);
}

struct left_check {
    struct stayer *stayer;
    int stage_at_release;
};

static void note_stage(void *object)
{
    struct left_check *check = object;
    check->stage_at_release = atomic_load(&check->stayer->stage);
}

static void test_a_waiting_retirement_returns_after_other_sections(void **state)
{
    (void)state;
    struct callers *c = made();
    for (int i = 0; i < 20; i++) {
        struct stayer stayer;
        struct left_check check = {&stayer, 0};
        stayer_start(&stayer, c);
        atomic_store(&stayer.stage, 2);
        callers_retire(c, &check, note_stage, true);
        assert_int_equal(check.stage_at_release, 3);
        assert_int_equal(pthread_join(stayer.thread, NULL), 0);
    }
    callers_free(c);
}

struct leaver {
    struct callers *callers;
    _Atomic(int) released;
};

/* Ends inside of a section, as a listener that calls pthread_exit does. */
static void *retire_and_end(void *arg)
{
    struct leaver *leaver = arg;
    caller_enter(callers_self(leaver->callers));
    callers_retire(leaver->callers, &leaver->released, count_release, false);
    return NULL;
}

static void test_free_releases_what_is_still_retired(void **state)
{
    (void)state;
    struct leaver leaver = {.callers = made()};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, retire_and_end, &leaver), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(leaver.released, 0);
    callers_free(leaver.callers);
    assert_int_equal(leaver.released, 1);
}

static void test_a_thread_that_ended_in_a_section_holds_nobody_up(void **state)
{
    (void)state;
    struct leaver leaver = {.callers = made()};
    pthread_t thread;
    _Atomic(int) released = 0;
    assert_int_equal(pthread_create(&thread, NULL, retire_and_end, &leaver), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    callers_retire(leaver.callers, &released, count_release, true);
    assert_int_equal(released, 1);
    assert_int_equal(leaver.released, 1);
    callers_free(leaver.callers);
}

struct chained {
    struct callers *callers;
    _Atomic(int) *released;
};

static void retire_another(void *object)
{
    struct chained *chained = object;
    callers_retire(chained->callers, chained->released, count_release, false);
}

static void test_release_may_retire(void **state)
{
    (void)state;
    struct callers *c = made();
    struct caller *self = callers_self(c);
    _Atomic(int) released = 0;
    struct chained chained = {c, &released};
    caller_enter(self);
    callers_retire(c, &chained, retire_another, false);
    caller_leave(self);
    assert_int_equal(released, 1);
    callers_free(c);
}

/* ---- many threads ---- */

#define MAGIC 0x600dbeefu
#define READERS 3
#define SWAPS 3000

struct thing {
    uint32_t magic;
};

struct stress {
    struct callers *callers;
    _Atomic(struct thing *) thing;
    _Atomic(bool) stop;
    _Atomic(int) released, damaged;
};

static struct stress stress;

static void release_thing(void *object)
{
    struct thing *thing = object;
    thing->magic = 0;
    free(thing);
    atomic_fetch_add_explicit(&stress.released, 1, memory_order_relaxed);
}

static struct thing *thing_new(void)
{
    struct thing *thing = malloc(sizeof *thing);
    if (thing == NULL)
        abort();
    thing->magic = MAGIC;
    return thing;
}

static void *read_things(void *arg)
{
    (void)arg;
    struct caller *self = callers_self(stress.callers);
    while (!atomic_load_explicit(&stress.stop, memory_order_relaxed)) {
        caller_enter(self);
        struct thing *thing = atomic_load_explicit(&stress.thing, memory_order_acquire);
        for (int i = 0; i < 4; i++) {
            if (*(volatile uint32_t *)&thing->magic != MAGIC)
                atomic_fetch_add(&stress.damaged, 1);
        }
        caller_leave(self);
    }
    return NULL;
}

static void *swap_things(void *arg)
{
    bool wait = arg != NULL;
    for (int i = 0; i < SWAPS; i++) {
        struct thing *old = atomic_exchange(&stress.thing, thing_new());
        callers_retire(stress.callers, old, release_thing, wait);
    }
    return NULL;
}

static void run_stress(void)
{
    pthread_t readers[READERS], swappers[2];
    stress.callers = made();
    atomic_store(&stress.thing, thing_new());
    atomic_store(&stress.stop, false);
    atomic_store(&stress.released, 0);
    atomic_store(&stress.damaged, 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_things, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&swappers[i], NULL, swap_things, i == 0 ? NULL : &stress),
                         0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(swappers[i], NULL), 0);
    atomic_store(&stress.stop, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    /* Whatever a section kept from release was released when that section ended. */
    assert_int_equal(stress.released, 2 * SWAPS);
    assert_int_equal(stress.damaged, 0);
    free(atomic_load(&stress.thing));
    callers_free(stress.callers);
}

static void test_nothing_is_released_while_a_section_uses_it(void **state)
{
    (void)state;
    run_stress();
}

/* From here on membarrier(2) does not exist for this process. */
static bool forbid_membarrier(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 38 /* ENOSYS */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static void test_the_same_without_membarrier(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!forbid_membarrier())
            _exit(77);
        struct callers *c = made();
        bool fences = callers_self(c)->full_fences;
        callers_free(c);
        if (!fences)
            _exit(1);
        run_stress();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread_keeps_its_slot),
        cmocka_unit_test(test_threads_and_handles_have_slots_of_their_own),
        cmocka_unit_test(test_the_slot_of_an_ended_thread_is_used_again),
        cmocka_unit_test(test_memory_of_a_thread_goes_with_it),
        cmocka_unit_test(test_handled_events_are_a_stack),
        cmocka_unit_test(test_generations_are_given_once),
        cmocka_unit_test(test_without_sections_release_is_at_once),
        cmocka_unit_test(test_release_waits_for_the_end_of_the_own_outermost_section),
        cmocka_unit_test(test_release_waits_for_sections_of_other_threads),
        cmocka_unit_test(test_of_two_old_sections_the_last_releases),
        cmocka_unit_test(test_a_waiting_retirement_returns_after_other_sections),
        cmocka_unit_test(test_free_releases_what_is_still_retired),
        cmocka_unit_test(test_a_thread_that_ended_in_a_section_holds_nobody_up),
        cmocka_unit_test(test_release_may_retire),
        cmocka_unit_test(test_nothing_is_released_while_a_section_uses_it),
        cmocka_unit_test(test_the_same_without_membarrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
