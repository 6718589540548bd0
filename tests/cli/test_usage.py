"""How the command line is read: help, mistakes, exit codes, completion."""
import os
import pty
import re
import shutil
import subprocess
import unittest

from beck import BeckTest, DONE, NOT_FOUND, PROGRAM, USAGE, main

COMMANDS = ["emit", "log", "on", "replay", "ingest", "bus", "queue", "dead", "serve", "verify", "export", "import", "metrics", "bench",
            "version", "help", "completion"]


class Help(BeckTest):
    def test_without_a_command_help_goes_to_standard_error(self):
        result = self.try_beck()
        self.assertEqual(result.code, USAGE)
        self.assertEqual(result.out, "")
        for name in COMMANDS:
            self.assertRegex(result.err, rf"(?m)^  {name} ")

    def test_help_of_the_program_names_every_command(self):
        for args in (["--help"], ["-h"], ["help"]):
            result = self.beck(*args)
            for name in COMMANDS:
                self.assertRegex(result.out, rf"(?m)^  {name} ")

    def test_every_command_explains_itself_both_ways(self):
        for name in COMMANDS:
            shown = self.beck(name, "--help").out
            self.assertIn(f"beck {name}", shown)
            self.assertIn("usage", shown)
            self.assertEqual(shown, self.beck("help", name).out)

    def test_every_subcommand_has_help_with_an_example(self):
        for group in ("bus", "queue", "dead"):
            names = re.findall(r"(?m)^  (\w+)  ", self.beck(group, "--help").out)
            self.assertIn("list", names)
            for name in names:
                shown = self.beck("help", group, name).out
                self.assertIn("examples", shown)
                self.assertIn(f"beck {group} {name}", shown)

    def test_a_group_alone_is_a_mistake(self):
        self.assertEqual(self.try_beck("queue").code, USAGE)

    def test_exit_codes_are_documented(self):
        shown = self.beck("help", "exit-codes").out
        for line in ("0  done", "1  failed", "2  usage", "3  not found", "4  busy", "5  corrupt", "6  refused"):
            self.assertIn(line, shown)

    def test_help_needs_no_data_directory(self):
        self.beck("help", "values")
        self.assertFalse(os.path.exists(self.data))

    def test_version(self):
        self.assertRegex(self.beck("version").out, r"^beck \d+\.\d+\.\d+\n$")
        self.assertIn("version", self.beck("version", "--json").json[0])
        self.assertEqual(self.beck("--version").out, self.beck("version").out)
        self.assertEqual(self.beck("--version", "--json").out, self.beck("version", "--json").out)
        self.assertIn("usage", self.beck("--version", "--help").out)


class Mistakes(BeckTest):
    def test_a_command_that_is_not_there_gets_a_suggestion(self):
        self.refused(USAGE, "emti", says="did you mean 'emit'?")
        self.refused(USAGE, "queue", "lsit", says="did you mean 'queue list'?")
        self.refused(USAGE, "xyzzy", says="no command 'xyzzy'")
        self.refused(USAGE, "help", "quue", says="did you mean 'queue'?")

    def test_an_option_that_is_not_there_gets_a_suggestion(self):
        self.refused(USAGE, "emit", "a.b", "--subjet", "x", says="did you mean '--subject'?")
        self.refused(USAGE, "emit", "a.b", "--jsn", says="did you mean '--json'?")
        self.refused(USAGE, "log", "-Z", says="no option '-Z'")

    def test_values_are_checked_before_anything_is_done(self):
        self.refused(USAGE, "emit", "a.b", "--delay", "soon", says="a duration such as")
        self.refused(USAGE, "emit", "a.b", "--delay", "5", says="a duration such as")
        self.refused(USAGE, "emit", "a.b", "--at", "25:00", says="a time such as")
        self.refused(USAGE, "emit", "a.b", "--priority", "256", says="out of range")
        self.refused(USAGE, "emit", "a.b", "--level", "safe", says="one of none, written, synced")
        self.refused(USAGE, "bus", "create", "b", "--segment-size", "4x", says="a size such as")
        self.refused(USAGE, "queue", "create", "q", "--backoff", "linear:1s", says="exponential:1s..1h")
        self.refused(USAGE, "queue", "create", "q", "--backoff", "exponential:5s..1s", says="exponential:1s..1h")
        self.refused(USAGE, "queue", "bind", "q", "#", "--from", "yesterday", says="earliest")
        self.assertFalse(os.path.exists(self.data))

    def test_missing_and_surplus_arguments(self):
        self.refused(USAGE, "emit", says="give TYPE")
        self.refused(USAGE, "queue", "show", says="give QUEUE")
        self.refused(USAGE, "queue", "show", "a", "b", says="'b' is one argument too many")
        self.refused(USAGE, "emit", "--subject", says="needs a value")
        self.refused(USAGE, "log", "--limit", "--follow", says="needs a value")
        self.refused(USAGE, "log", "--follow=yes", says="takes no value")
        self.refused(USAGE, "log", "--limit", "1", "--limit", "2", says="given twice")

    def test_a_message_points_to_the_help_of_its_command(self):
        self.assertIn("see: beck queue create --help", self.refused(USAGE, "queue", "create").err)

    def test_a_data_directory_that_is_not_there_is_told_from_an_empty_one(self):
        for args in (["log"], ["bus", "list"], ["queue", "list"], ["verify"], ["on", "#", "--", "true"]):
            self.refused(NOT_FOUND, *args, says="no data directory")
        self.assertFalse(os.path.exists(self.data))

    def test_data_is_not_the_data_of_an_event(self):
        self.refused(USAGE, "emit", "a.b", "--data", '{"id": 1}', says="stands behind its type")

    def test_data_names_a_file(self):
        path = self.script("file", "x")
        self.refused(USAGE, "log", "--data", path, says="is no directory")


class Options(BeckTest):
    def test_options_stand_anywhere_and_in_every_form(self):
        self.beck("--data", "d1", "emit", "a.b")
        self.beck("emit", "a.b", "--data=d1")
        self.beck("emit", "--data", "d1", "-s", "x", "a.b")
        self.beck("emit", "a.b", "-sx", "--data", "d1")
        self.assertEqual(len(self.beck("log", "--data", "d1").lines), 4)

    def test_the_data_directory_comes_from_the_option_the_environment_or_its_default(self):
        self.beck("emit", "a.b", "--data", "given")
        self.beck("emit", "a.b", BECK_DATA="from-environment")
        self.beck("emit", "a.b", BECK_DATA="")
        for name in ("given", "from-environment", "beck-data"):
            self.assertTrue(os.path.isdir(os.path.join(self.dir, name)), name)

    def test_colours_are_for_terminals_or_when_asked_for(self):
        self.beck("emit", "a.b")
        self.assertNotIn("\033", self.beck("log", "--format", "human").out)
        self.assertIn("\033", self.beck("log", "--format", "human", "--color", "always").out)
        self.assertNotIn("\033", self.beck("log", "--format", "human", "--color", "never").out)

    def test_a_reader_that_goes_away_is_no_error(self):
        self.emit(5000)
        done = subprocess.run(["sh", "-c", f"'{PROGRAM}' log | head -n 1; '{PROGRAM}' log >&-; echo $?"], cwd=self.dir,
                              capture_output=True, text=True, check=False, env=self.environment())
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertNotIn("Broken", done.stderr)

    def test_output_that_cannot_be_written_is_an_error(self):
        done = subprocess.run(["sh", "-c", f"'{PROGRAM}' help > /dev/full"], cwd=self.dir, capture_output=True,
                              text=True, check=False, env=self.environment())
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)


class Completion(BeckTest):
    def complete(self, *words):
        """What bash offers for the last word."""
        script = self.beck("completion", "bash").out + (
            f"COMP_WORDS=({PROGRAM!r} {' '.join(repr(w) for w in words)}); COMP_CWORD={len(words)}\n"
            "compopt() { :; }\n_beck; printf '%s\\n' \"${COMPREPLY[@]}\"\n")
        done = subprocess.run(["bash", "-c", script], cwd=self.dir, env=self.environment(), capture_output=True, text=True,
                              check=True)
        return done.stdout.split()

    def test_bash_completes_commands_options_and_choices(self):
        self.assertEqual(self.complete("em"), ["emit"])
        self.assertIn("create", self.complete("queue", ""))
        self.assertIn("--backoff", self.complete("queue", "create", "q", "--b"))
        self.assertIn("--data", self.complete("emit", "--da"))
        self.assertEqual(self.complete("emit", "--level", "w"), ["written"])
        self.assertEqual(self.complete("--data", "x", "verif"), ["verify"])
        self.assertEqual(self.complete("--color", "al"), ["always"])

    def test_bash_completes_names_of_buses_and_queues(self):
        self.emit(1)
        self.beck("bus", "create", "shop")
        self.beck("queue", "create", "billing", "#", "--bus", "shop")
        self.assertEqual(sorted(self.complete("bus", "show", "")), ["events", "shop"])
        self.assertEqual(self.complete("log", "sh"), ["shop"])
        self.assertEqual(self.complete("emit", "a.b", "--bus", "e"), ["events"])
        self.assertEqual(self.complete("queue", "show", ""), ["billing"])
        self.assertEqual(self.complete("dead", "list", "bi"), ["billing"])
        self.assertEqual(self.complete("queue", "bind", "--bus", "shop", "b"), ["billing"])
        self.assertEqual(self.complete("on", "#", "--queue", ""), ["billing"])
        self.assertEqual(self.complete("--data", "nowhere", "queue", "show", ""), [])
        self.assertEqual(self.complete("queue", "bind", "billing", "x"), [])

    def test_there_is_none_for_other_shells(self):
        self.refused(USAGE, "completion", "tcsh", says="bash, zsh or fish")


class CompletionOfOtherShells(BeckTest):
    def setUp(self):
        super().setUp()
        os.symlink(PROGRAM, f"{self.dir}/beck")
        self.shell_environment = {**self.environment(), "PATH": f"{self.dir}:{os.environ['PATH']}", "ZDOTDIR": self.dir, "TERM": "dumb"}
        self.beck("bus", "create", "shop")
        self.beck("queue", "create", "billing", "#", "--bus", "shop")
        self.beck("queue", "create", "distant", "#", "--data", "other")

    def fish(self, line):
        """What fish offers for the last word, without descriptions."""
        done = subprocess.run(["fish", "--no-config", "-c", "beck completion fish | source; complete -C $argv[1]", line], cwd=self.dir,
                              env=self.shell_environment, capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        return sorted(text.split("\t")[0] for text in done.stdout.splitlines())

    def zsh(self, line):
        """What zsh offers for the last word, without descriptions: it completes only in a terminal."""
        with open(f"{self.dir}/_beck", "w", encoding="utf-8") as script:
            script.write(self.beck("completion", "zsh").out)
        with open(f"{self.dir}/.zshrc", "w", encoding="utf-8") as start:
            start.write("fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D; stty cols 200 rows 200\n"
                        "PS1=; setopt no_beep no_prompt_sp no_prompt_cr\n"
                        "finish() { print -n 'E''ND'; exit }; zle -N finish; bindkey '^X' finish; bindkey '^I' list-choices\nprint -n BE''GIN\n")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.dir)
            os.execvpe("zsh", ["zsh", "-d", "-i"], self.shell_environment)
        shown = b""
        for mark, keys in ((b"BEGIN", line.encode() + b"\t\x18"), (b"END", b"")):
            while mark not in shown:
                shown += os.read(terminal, 65536)
            os.write(terminal, keys)
        os.close(terminal)
        os.waitpid(child, 0)
        listed = shown.decode().split("BEGIN")[1].split("END")[0].replace("\r", "").splitlines()
        return sorted(text.split("  ")[0] for text in listed if text and line.strip() not in text)

    def check(self, complete):
        self.assertEqual(complete("beck em"), ["emit"])
        self.assertEqual(complete("beck dead "), ["list", "purge", "redrive", "show"])
        self.assertEqual(complete("beck queue create q --b"), ["--backoff", "--bus"])
        self.assertEqual(complete("beck emit a --level w"), ["written"])
        self.assertEqual(complete("beck emit a --bus "), ["shop"])
        self.assertEqual(complete("beck queue show "), ["billing"])
        self.assertEqual(complete("beck dead list -n 5 "), ["billing"])
        self.assertEqual(complete("beck queue show --data other "), ["distant"])
        self.assertEqual(complete("beck --data other queue show "), ["distant"])
        self.assertEqual(complete("beck --data queue veri"), ["verify"])
        self.assertEqual(complete("beck --col"), ["--color"])

    @unittest.skipUnless(shutil.which("fish"), "there is no fish")
    def test_fish_completes_commands_options_choices_and_names(self):
        self.check(self.fish)

    @unittest.skipUnless(shutil.which("zsh"), "there is no zsh")
    def test_zsh_completes_commands_options_choices_and_names(self):
        self.check(self.zsh)


if __name__ == "__main__":
    main()
