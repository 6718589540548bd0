/* The tables of settings: that they fit together, and what they share with other layers. */
#include "common.h"

#include "hook/hook.h"
#include "server/log.h"

/* Every table there is, fixed rows first. */
static size_t all_tables(const struct setting *tables[16])
{
    size_t count = 0;
    tables[count++] = settings_rows;
    for (const struct setting_group *g = setting_groups; g->name; g++) {
        tables[count++] = g->table->rows;
        for (const struct setting *row = g->table->rows; row->name; row++) {
            if (row->kind == SETTING_RECORDS) {
                tables[count++] = row->table->rows;
            }
        }
    }
    assert_true(count <= 16);
    return count;
}

static void names_are_there_once_and_fit_where_they_are_used(void **state)
{
    (void)state;
    const struct setting *tables[16];
    size_t count = all_tables(tables);
    for (size_t t = 0; t < count; t++) {
        size_t rows = 0;
        for (const struct setting *row = tables[t]; row->name; row++, rows++) {
            assert_ptr_equal(setting_find(tables[t], row->name), row);
            assert_true(strspn(row->name, "abcdefghijklmnopqrstuvwxyz_.") == strlen(row->name));
            assert_non_null(row->help);
            assert_true((row->kind == SETTING_RECORDS) == (row->table != NULL));
            assert_true(row->kind != SETTING_CHOICE || row->choices);
        }
        assert_true(t == 0 || rows <= 64); /* struct record has a bit for each */
    }
}

static void variables_are_told_apart(void **state)
{
    (void)state;
    char a[CONFIG_VARIABLE_MAX], b[CONFIG_VARIABLE_MAX];
    for (const struct setting *x = settings_rows; x->name; x++) {
        config_variable(x, a);
        for (const struct setting *y = settings_rows; y < x; y++) {
            config_variable(y, b);
            assert_string_not_equal(a, b);
        }
    }
    config_variable(setting_find(settings_rows, "http.tls_listen"), a);
    assert_string_equal(a, "BECK_HTTP_TLS_LISTEN");
}

/* Printed, a default is what its row says: so it is read, in range, and shown in one form. */
static void defaults_are_values_in_their_own_form(void **state)
{
    (void)state;
    const struct setting *tables[16];
    size_t count = all_tables(tables);
    struct arena arena = {0};
    char record[4096];
    for (size_t t = 0; t < count; t++) {
        for (const struct setting *row = tables[t]; row->name; row++) {
            struct buf text;
            assert_true(row->offset + row->size <= sizeof record);
            if (!row->preset || row->kind == SETTING_TEXT || row->kind == SETTING_LIST) {
                continue;
            }
            memset(record, 0xa5, sizeof record);
            assert_int_equal(setting_reset(row, record, &arena, NULL), BECK_OK);
            buf_init(&text, 256);
            assert_int_equal(setting_print(row, record, &text), BECK_OK);
            assert_int_equal(buf_terminate(&text), BECK_OK);
            bool zero = strcmp(row->preset, "0") == 0;
            if (!zero && row->kind != SETTING_DURATION) {
                assert_string_equal((char *)text.data, row->preset);
            }
            char again[4096];
            memset(again, 0x5a, sizeof again);
            assert_int_equal(setting_read(row, again, (char *)text.data, &arena, NULL), BECK_OK);
            assert_true(setting_same(row, record, again));
            buf_release(&text);
        }
    }
    arena_release(&arena);
}

static const struct setting *hook_row(const char *name)
{
    const struct setting_group *g = setting_groups;
    while (strcmp(g->name, "hooks") != 0) {
        g++;
    }
    return setting_find(g->table->rows, name);
}

static void choices_are_in_the_order_of_their_enumerations(void **state)
{
    (void)state;
    const char *const *providers = hook_row("provider")->choices;
    for (int i = 0; i < HOOK_PROVIDERS; i++) {
        assert_string_equal(providers[i], hook_provider_name((enum hook_provider)i));
    }
    assert_null(providers[HOOK_PROVIDERS]);
    const struct setting *digest = hook_row("digest");
    for (int i = 0; digest->choices[i]; i++) {
        assert_string_equal(digest->choices[i],
                            hook_digest_name((enum hook_digest)(digest->first + i)));
    }
    assert_string_equal(setting_log_levels[LEVEL_ERROR], "error");
    assert_string_equal(setting_log_formats[LOG_FORMAT_JSON], "json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_there_once_and_fit_where_they_are_used),
        cmocka_unit_test(variables_are_told_apart),
        cmocka_unit_test(defaults_are_values_in_their_own_form),
        cmocka_unit_test(choices_are_in_the_order_of_their_enumerations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
