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

/* case alternatives for all options that have a value. */
static void bash_valued(const struct command *c, const char *path)
{
    (void)path;
    for (const struct option *o = c->options; o && o->name; o++) {
        if (o->kind != OPTION_FLAG) {
            printf("|--%s", o->name);
        }
        if (o->kind != OPTION_FLAG && o->letter) {
            printf("|-%c", o->letter);
        }
    }
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

static void zsh_options(const struct option *options)
{
    for (; options && options->name; options++) {
        printf(" \\\n" ZSH_INDENT "'%s--%s", options->repeatable ? "*" : "", options->name);
        fputs(options->kind == OPTION_FLAG ? "[" : "=[", stdout);
        quoted(options->help, "[]:");
        putchar(']');
        if (options->kind == OPTION_CHOICE) {
            fputs(":value:(", stdout);
            for (int i = 0; options->choices[i]; i++) {
                printf("%s%s", i ? " " : "", options->choices[i]);
            }
            putchar(')');
        } else if (strcmp(options->name, "data") == 0) {
            fputs(":directory:_files -/", stdout);
        } else if (kind_of(options->value)) {
            printf(":%s:_beck_names %s", kind_of(options->value), kind_of(options->value));
        } else if (options->kind != OPTION_FLAG) {
            fputs(":value:", stdout);
        }
        putchar('\'');
    }
}

static void zsh_names(const struct command *const *among)
{
    for (; *among; among++) {
        printf(ZSH_INDENT "'%s:", (*among)->name);
        quoted((*among)->help, ":");
        puts("'");
    }
}

static void zsh_case(const struct command *c, const char *path)
{
    printf("        '%s')\n", path);
    if (c->children) {
        printf("            names=(\n");
        zsh_names(c->children);
        printf("            )\n            _describe command names ;;\n");
        return;
    }
    printf("            _arguments -S");
    zsh_options(c->options);
    zsh_options(global_options);
    const char *kind = kind_of(c->arguments);
    if (kind) {
        printf(" \\\n" ZSH_INDENT "'%d:%s:_beck_names %s'", strchr(path, ' ') ? 3 : 2, kind, kind);
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
           "    local path_='' word\n"
           "    for word in ${words[2,CURRENT-1]}; do\n"
           "        case \"$path_ $word\" in\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf("            ' %s') path_='%s' ;;\n", (*c)->name, (*c)->name);
        for (const struct command *const *sub = (*c)->children; sub && *sub; sub++) {
            printf("            '%s %s') path_='%s %s' ;;\n", (*c)->name, (*sub)->name, (*c)->name,
                   (*sub)->name);
        }
    }
    printf("        esac\n    done\n    case \"$path_\" in\n        '')\n            names=(\n");
    zsh_names(commands);
    printf("            )\n            _describe command names ;;\n");
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

static void fish_of(const struct command *c, const char *path)
{
    char condition[192];
    const char *space = strchr(path, ' ');
    int first = space ? (int)(space - path) : (int)strlen(path);
    if (space) {
        snprintf(condition, sizeof condition,
                 " -n '__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s'",
                 first, path, space + 1);
    } else {
        snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %s'", path);
    }
    fish_options(c->options, condition);
    if (kind_of(c->arguments)) {
        printf("complete -c beck -f%s -a '(__beck_names %s)'\n", condition, kind_of(c->arguments));
    }
    for (const struct command *const *sub = c->children; sub && *sub; sub++) {
        printf("complete -c beck -f%s -a %s -d '", condition, (*sub)->name);
        quoted((*sub)->help, "");
        puts("'");
    }
}

static void fish_print(void)
{
    puts("# beck: completion for fish. Use: beck completion fish | source\n"
         "function __beck_names\n"
         "    beck $argv[1] list --json 2>/dev/null | " NAMES_SED "\n"
         "end");
    for (const struct command *const *c = commands; *c; c++) {
        printf("complete -c beck -f -n __fish_use_subcommand -a %s -d '", (*c)->name);
        quoted((*c)->help, "");
        puts("'");
    }
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
