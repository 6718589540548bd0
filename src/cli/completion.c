/* Shell completion, made from the table of commands. The scripts know commands, options and the
 * choices of options; what a word means is decided by counting the words before it that are no
 * options. Names of buses and queues are asked of the data directory. */
#include "cli/help.h"
#include "cli/parser.h"
#include <stdio.h>
#include <string.h>

#define NAMES_SED "sed -n 's/^{\"name\":\"\\([^\"]*\\)\".*/\\1/p'"

/* "bus", "queue": what the placeholder of a value stands for, or begins with; NULL: no name of these. */
static const char *kind_of(const char *placeholder)
{
    const char *word = placeholder ? placeholder + (*placeholder == '[') : "";
    size_t len = strcspn(word, " ].");
    if (len == 3 && strncmp(word, "BUS", 3) == 0) {
        return "bus";
    }
    return len == 5 && strncmp(word, "QUEUE", 5) == 0 ? "queue" : NULL;
}

static void bash_options(const struct option *options)
{
    for (; options && options->name; options++) {
        printf(" --%s", options->name);
    }
}

/* case entries "command:option" for options whose values are known. */
static void bash_choices(const struct option *options, const char *path)
{
    for (; options && options->name; options++) {
        const char *kind = kind_of(options->value);
        if (kind && options->letter) {
            printf("        '%s -%c') kind='%s' ;;\n", path, options->letter, kind);
        }
        if (kind) {
            printf("        '%s --%s') kind='%s' ;;\n", path, options->name, kind);
        }
        if (options->kind != OPTION_CHOICE) {
            continue;
        }
        printf("        '%s --%s') words='", path, options->name);
        for (int i = 0; options->choices[i]; i++) {
            printf("%s%s", i ? " " : "", options->choices[i]);
        }
        puts("' ;;");
    }
}

/* Behind those of all commands, each option that has a value. */
static void valued_of(const struct command *c, const char *before)
{
    for (const struct option *o = c->options; o && o->name; o++) {
        if (o->kind != OPTION_FLAG) {
            printf("%s--%s", before, o->name);
        }
        if (o->kind != OPTION_FLAG && o->letter) {
            printf("%s-%c", before, o->letter);
        }
    }
}

static void bash_valued(const struct command *c, const char *path)
{
    (void)path;
    valued_of(c, "|");
}

/* Calls `each` for every command, with its path: "emit", "bus", "bus create". */
static void walk(void (*each)(const struct command *c, const char *path))
{
    char path[64];
    for (const struct command *const *c = commands; *c; c++) {
        each(*c, (*c)->name);
        for (const struct command *const *sub = (*c)->children; sub && *sub; sub++) {
            snprintf(path, sizeof path, "%s %s", (*c)->name, (*sub)->name);
            each(*sub, path);
        }
    }
}

static void bash_choices_of(const struct command *c, const char *path)
{
    bash_choices(c->options, path);
}

static void bash_words_of(const struct command *c, const char *path)
{
    printf("        '%s') words='", path);
    for (const struct command *const *sub = c->children; sub && *sub; sub++) {
        printf("%s%s", sub == c->children ? "" : " ", (*sub)->name);
    }
    printf("'; options='");
    bash_options(c->options);
    const char *kind = kind_of(c->arguments);
    printf("'; ((count)) || kind='%s' ;;\n", kind ? kind : "");
}

static void bash_print(void)
{
    printf(
        "# beck: completion for bash. Use: source <(beck completion bash)\n"
        "_beck_names() {\n"
        "    \"${COMP_WORDS[0]}\" ${2:+--data \"$2\"} \"$1\" list --json 2>/dev/null | " NAMES_SED
        "\n"
        "}\n"
        "_beck() {\n"
        "    local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
        "    local path='' words='' options='' kind='' data='' count=0 word i\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "        word=\"${COMP_WORDS[i]}\"\n"
        "        [[ $word == -- ]] && { compopt -o default; return; }\n"
        "        [[ $word == --data ]] && data=\"${COMP_WORDS[i+1]}\"\n"
        "        case \"$word\" in --data|--wait|--color");
    walk(bash_valued);
    printf(") ((i++)); continue ;; -*) continue ;; esac\n"
           "        case \"$path $word\" in\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf("            ' %s') path='%s' ;;\n", (*c)->name, (*c)->name);
        for (const struct command *const *sub = (*c)->children; sub && *sub; sub++) {
            printf("            '%s %s') path='%s %s' ;;\n", (*c)->name, (*sub)->name, (*c)->name,
                   (*sub)->name);
        }
    }
    printf(
        "            *) ((count++)) ;;\n        esac\n    done\n    case \"$path $previous\" in\n");
    walk(bash_choices_of);
    printf("        *' --color') words='auto always never' ;;\n"
           "        *' --data') COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n"
           "    esac\n"
           "    [[ $kind ]] && words=\"$(_beck_names $kind \"$data\")\"\n"
           "    [[ $words || $kind ]] && { COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); "
           "return; }\n"
           "    case \"$path\" in\n        '') words='");
    for (const struct command *const *c = commands; *c; c++) {
        printf("%s%s", c == commands ? "" : " ", (*c)->name);
    }
    puts("' ;;");
    walk(bash_words_of);
    printf("    esac\n    options+='");
    bash_options(global_options);
    puts("'\n"
         "    if [[ $current == -* ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
         "    elif [[ $words ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "    elif [[ $kind ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$(_beck_names $kind \"$data\")\" -- \"$current\"))\n"
         "    else\n"
         "        compopt -o default\n"
         "    fi\n"
         "}\n"
         "complete -F _beck beck");
}

/* A text within single quotes, for zsh and fish; `also` is escaped with a backslash as well. */
static void quoted(const char *text, const char *also)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            if (strchr(also, *text)) {
                putchar('\\');
            }
            putchar(*text);
        }
    }
}

#define ZSH_INDENT "                "

static void zsh_option(const struct option *option)
{
    const char *sign = option->kind == OPTION_FLAG ? "" : "=";
    printf(" \\\n" ZSH_INDENT "%s", option->repeatable ? "'*'" : "");
    if (option->letter && !option->repeatable) {
        printf("'(-%c --%s)'", option->letter, option->name);
    }
    if (option->letter) {
        printf("{-%c%s,--%s%s}'[", option->letter, *sign ? "+" : "", option->name, sign);
    } else {
        printf("'--%s%s[", option->name, sign);
    }
    quoted(option->help, "[]:");
    putchar(']');
    if (option->kind == OPTION_CHOICE) {
        fputs(":value:(", stdout);
        for (int i = 0; option->choices[i]; i++) {
            printf("%s%s", i ? " " : "", option->choices[i]);
        }
        putchar(')');
    } else if (strcmp(option->name, "data") == 0) {
        fputs(":directory:_files -/", stdout);
    } else if (kind_of(option->value)) {
        printf(":%s: _beck_names %s", kind_of(option->value), kind_of(option->value));
    } else if (option->kind != OPTION_FLAG) {
        fputs(":value:", stdout);
    }
    putchar('\'');
}

static void zsh_arguments(const struct option *options)
{
    printf("            _arguments -S");
    for (; options && options->name; options++) {
        zsh_option(options);
    }
    for (options = global_options; options->name; options++) {
        zsh_option(options);
    }
}

static void zsh_names(const struct command *const *among)
{
    printf("            names=(\n");
    for (; *among; among++) {
        printf(ZSH_INDENT "'%s:", (*among)->name);
        quoted((*among)->help, ":");
        puts("'");
    }
    printf("            )\n");
    zsh_arguments(NULL);
    puts(" \\\n" ZSH_INDENT "'*:command:->command'\n"
         "            [[ $state == command ]] && _describe command names ;;");
}

static void zsh_case(const struct command *c, const char *path)
{
    printf("        '%s')\n", path);
    if (c->children) {
        zsh_names(c->children);
        return;
    }
    zsh_arguments(c->options);
    const char *kind = kind_of(c->arguments);
    if (kind) { /* with a space before it, or it gets arguments that are for compadd */
        printf(" \\\n" ZSH_INDENT "'%d:%s: _beck_names %s'", strchr(path, ' ') ? 3 : 2, kind, kind);
    }
    puts(" \\\n" ZSH_INDENT "'*:argument:_files' ;;");
}

static void zsh_print(void)
{
    printf("#compdef beck\n"
           "# beck: completion for zsh. Use: beck completion zsh > a folder of $fpath/_beck\n"
           "_beck_names() {\n"
           "    local -a found\n"
           "    found=(${(f)\"$(beck ${opt_args[--data]:+--data} ${(Q)opt_args[--data]} $1 list "
           "--json 2>/dev/null | " NAMES_SED ")\"})\n"
           "    compadd -a found\n"
           "}\n"
           "_beck() {\n"
           "    local -a names\n"
           "    local -A opt_args\n"
           "    local path_='' word skip='' state line\n"
           "    for word in ${words[2,CURRENT-1]}; do\n"
           "        [[ $skip ]] && { skip=''; continue }\n"
           "        case \"$word\" in --data|--wait|--color");
    walk(bash_valued);
    printf(") skip=1; continue ;; -*) continue ;; esac\n"
           "        case \"$path_ $word\" in\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf("            ' %s') path_='%s' ;;\n", (*c)->name, (*c)->name);
        for (const struct command *const *sub = (*c)->children; sub && *sub; sub++) {
            printf("            '%s %s') path_='%s %s' ;;\n", (*c)->name, (*sub)->name, (*c)->name,
                   (*sub)->name);
        }
    }
    printf("        esac\n    done\n    case \"$path_\" in\n        '')\n");
    zsh_names(commands);
    walk(zsh_case);
    puts("    esac\n}\n_beck \"$@\"");
}

static void fish_options(const struct option *options, const char *condition)
{
    for (; options && options->name; options++) {
        printf("complete -c beck%s -l %s", condition, options->name);
        if (options->letter) {
            printf(" -s %c", options->letter);
        }
        if (options->kind == OPTION_CHOICE) {
            fputs(" -x -a '", stdout);
            for (int i = 0; options->choices[i]; i++) {
                printf("%s%s", i ? " " : "", options->choices[i]);
            }
            putchar('\'');
        } else if (kind_of(options->value)) {
            printf(" -x -a '(__beck_names %s)'", kind_of(options->value));
        } else if (options->kind != OPTION_FLAG) {
            fputs(" -r", stdout);
        }
        fputs(" -d '", stdout);
        quoted(options->help, "");
        puts("'");
    }
}

static void fish_children(const struct command *const *among, const char *condition)
{
    for (; among && *among; among++) {
        printf("complete -c beck -f%s -a %s -d '", condition, (*among)->name);
        quoted((*among)->help, "");
        puts("'");
    }
}

static void fish_of(const struct command *c, const char *path)
{
    char condition[192];
    snprintf(condition, sizeof condition, " -n '__beck_at \"%s\"'", path);
    fish_options(c->options, condition);
    snprintf(condition, sizeof condition, " -n '__beck_at \"%s\" 0'", path);
    if (kind_of(c->arguments)) {
        printf("complete -c beck -f%s -a '(__beck_names %s)'\n", condition, kind_of(c->arguments));
    }
    fish_children(c->children, condition);
}

static void fish_valued(const struct command *c, const char *path)
{
    (void)path;
    valued_of(c, " ");
}

/* __beck_at: whether the words so far are this command, and so many arguments. */
static void fish_print(void)
{
    printf("# beck: completion for fish. Use: beck completion fish | source\n"
           "function __beck_at\n"
           "    set -l path\n"
           "    set -l count 0\n"
           "    set -l skip 0\n"
           "    for word in (commandline -opc)[2..-1]\n"
           "        if test $skip = 1\n"
           "            set skip 0\n"
           "            continue\n"
           "        end\n"
           "        switch $word\n"
           "            case --data --wait --color");
    walk(fish_valued);
    printf("\n                set skip 1\n"
           "            case '-*'\n"
           "            case '*'\n"
           "                switch \"$path $word\"\n"
           "                    case");
    for (const struct command *const *c = commands; *c; c++) {
        printf(" ' %s'", (*c)->name);
        for (const struct command *const *sub = (*c)->children; sub && *sub; sub++) {
            printf(" '%s %s'", (*c)->name, (*sub)->name);
        }
    }
    puts("\n                        set path $path $word\n"
         "                    case '*'\n"
         "                        set count (math $count + 1)\n"
         "                end\n"
         "        end\n"
         "    end\n"
         "    test \"$path\" = \"$argv[1]\"; and test \"$argv[2]\" = '' -o \"$argv[2]\" = $count\n"
         "end\n"
         "function __beck_names\n"
         "    set -l data\n"
         "    set -l previous\n"
         "    for word in (commandline -opc)\n"
         "        test \"$previous\" = --data; and set data --data $word\n"
         "        string match -q -- '--data=*' $word; and set data $word\n"
         "        set previous $word\n"
         "    end\n"
         "    beck $data $argv[1] list --json 2>/dev/null | " NAMES_SED "\n"
         "end");
    fish_children(commands, " -n '__beck_at \"\" 0'");
    fish_options(global_options, "");
    walk(fish_of);
}

static int completion_run(struct call *call)
{
    const char *shell = call->arguments[0];
    if (strcmp(shell, "bash") == 0) {
        bash_print();
    } else if (strcmp(shell, "zsh") == 0) {
        zsh_print();
    } else if (strcmp(shell, "fish") == 0) {
        fish_print();
    } else {
        return call_usage(call, "no completion for '%s': give bash, zsh or fish", shell);
    }
    return EXIT_DONE;
}

const struct command command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "print the completion script of a shell",
    .examples = "# now, in this shell\nsource <(beck completion bash)\n"
                "beck completion fish > ~/.config/fish/completions/beck.fish",
    .run = completion_run,
};
