/*
 * Stands in for libFuzzer in an ordinary build: gives a target every file of its corpus, and then
 * mutations of them that follow from a seed, so that a run can be repeated.
 *
 *   fuzz_<name> CORPUS_DIR [MUTATIONS [SEED]]     before a crash: the input is in fuzz_<name>.crash
 *   fuzz_<name> FILE                              one input
 */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUTS_MAX 256
#define INPUT_SIZE_MAX 65536

struct input {
    size_t size;
    uint8_t *bytes;
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;

/* The input being tried, for the handler of a crash. */
static uint8_t current[INPUT_SIZE_MAX];
static size_t current_size;
static char crash_path[4096];

static uint64_t random_state;

static uint64_t random_below(uint64_t bound)
{
    random_state += 0x9E3779B97F4A7C15ULL;
    uint64_t v = random_state;
    v = (v ^ v >> 30) * 0xBF58476D1CE4E5B9ULL;
    v = (v ^ v >> 27) * 0x94D049BB133111EBULL;
    return (v ^ v >> 31) % bound;
}

static void on_crash(int number)
{
    FILE *file = fopen(crash_path, "wb");
    if (file != NULL) {
        fwrite(current, 1, current_size, file);
        fclose(file);
        fprintf(stderr, "the input is in %s\n", crash_path);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || input_count == INPUTS_MAX) {
        fprintf(stderr, "cannot take %s\n", path);
        exit(2);
    }
    struct input *in = &inputs[input_count++];
    in->bytes = malloc(INPUT_SIZE_MAX);
    REQUIRE(in->bytes != NULL);
    in->size = fread(in->bytes, 1, INPUT_SIZE_MAX, file);
    fclose(file);
}

static int by_content(const void *a, const void *b)
{
    const struct input *x = a;
    const struct input *y = b;
    if (x->size != y->size) {
        return x->size < y->size ? -1 : 1;
    }
    return memcmp(x->bytes, y->bytes, x->size);
}

static void load_all(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        load(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char name[4096];
        struct stat about;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (stat(name, &about) == 0 && S_ISREG(about.st_mode)) {
            load(name);
        }
    }
    closedir(dir);
    /* The order of a directory is no order. */
    qsort(inputs, input_count, sizeof inputs[0], by_content);
}

static void try_current(void)
{
    /* A block of just that size, so that a sanitizer sees a read beyond it. */
    uint8_t *exact = malloc(current_size == 0 ? 1 : current_size);
    REQUIRE(exact != NULL);
    memcpy(exact, current, current_size);
    LLVMFuzzerTestOneInput(exact, current_size);
    free(exact);
}

static void remove_part(size_t at, size_t len)
{
    memmove(current + at, current + at + len, current_size - at - len);
    current_size -= len;
}

static void insert_part(size_t at, const uint8_t *bytes, size_t len)
{
    if (len > INPUT_SIZE_MAX - current_size) {
        return;
    }
    memmove(current + at + len, current + at, current_size - at);
    memmove(current + at, bytes, len);
    current_size += len;
}

static void mutate_once(void)
{
    static const uint8_t telling[] = "\x00\x01\x7f\x80\xff\"\\{}[]:,.*#0-eu/\n \xc3\xed\xf0";
    size_t at = current_size == 0 ? 0 : random_below(current_size);
    size_t left = current_size - at;
    size_t len = left == 0 ? 0 : 1 + random_below(left < 16 ? left : 16);
    uint8_t byte = random_below(2) == 0 ? telling[random_below(sizeof telling - 1)]
                                        : (uint8_t)random_below(256);
    const struct input *other = &inputs[random_below(input_count)];
    size_t from = other->size == 0 ? 0 : random_below(other->size);
    switch (current_size == 0 ? 1 : random_below(7)) {
    case 0:
        current[at] ^= (uint8_t)(1U << random_below(8));
        break;
    case 1:
        insert_part(at, &byte, 1);
        break;
    case 2:
        current[at] = byte;
        break;
    case 3:
        remove_part(at, len);
        break;
    case 4:
        insert_part(at, current + at, len); /* bytes before the move: close enough to a doubling */
        break;
    case 5:
        current_size = at;
        break;
    default:
        insert_part(at, other->bytes + from,
                    other->size - from < 32 ? other->size - from : random_below(32));
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s CORPUS_DIR|FILE [MUTATIONS [SEED]]\n", argv[0]);
        return 2;
    }
    uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000;
    random_state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    snprintf(crash_path, sizeof crash_path, "%s.crash", argv[0]);
    static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) {
        signal(crashes[i], on_crash);
    }
    load_all(argv[1]);
    REQUIRE(input_count > 0);
    for (size_t i = 0; i < input_count; i++) {
        memcpy(current, inputs[i].bytes, inputs[i].size);
        current_size = inputs[i].size;
        try_current();
    }
    struct stat about;
    if (stat(argv[1], &about) != 0 || !S_ISDIR(about.st_mode)) {
        return 0;
    }
    for (uint64_t i = 0; i < mutations; i++) {
        const struct input *in = &inputs[random_below(input_count)];
        memcpy(current, in->bytes, in->size);
        current_size = in->size;
        for (uint64_t n = 1 + random_below(4); n > 0; n--) {
            mutate_once();
        }
        try_current();
    }
    return 0;
}
