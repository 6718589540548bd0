"""beck user: users of a data directory, and what is refused."""
import os
import pty
import select

from beck import BeckTest, DONE, EXISTS, NOT_FOUND, PROGRAM, USAGE, alone, main


class User(BeckTest):
    def add(self, name, *args, password="correct horse\n"):
        return self.beck("user", "add", name, "--password-stdin", *args, stdin=password)

    def users(self):
        return {u["name"]: u for u in self.beck("user", "list", "--json").json}

    def test_add_list_and_show(self):
        self.add("ada", "--allow", "server=admin")
        self.add("shop", "-a", "bus:orders.*=publish,read", "-a", "queue:billing=work")
        self.beck("user", "add", "ci", "--no-password")
        users = self.users()
        self.assertEqual(list(users), ["ada", "ci", "shop"])
        self.assertEqual(users["ada"]["rules"], [{"server": True, "rights": ["admin"]}])
        self.assertEqual(users["shop"]["rules"], [{"bus": "orders.*", "rights": ["publish", "read"]},
                                                  {"queue": "billing", "rights": ["work"]}])
        self.assertEqual((users["ci"]["password"], users["shop"]["password"]), (False, True))
        self.assertEqual(self.beck("user", "show", "shop", "--json").json, [users["shop"]])
        table = self.beck("user", "list").lines
        self.assertRegex(table[0], r"^USER +PASSWORD +TOKENS +RULES$")
        self.assertRegex(table[3], r"^shop +yes +0 +bus:orders\.\*=publish,read queue:billing=work$")
        self.assertRegex(self.beck("user", "show", "shop").out, r"(?m)^may +queue:billing=work$")

    def test_permit_replaces_what_was_permitted(self):
        self.add("ada", "--allow", "server=admin")
        self.add("eve", "--allow", "server=admin")
        self.beck("user", "permit", "ada", "bus:*=read")
        self.assertEqual(self.users()["ada"]["rules"], [{"bus": "*", "rights": ["read"]}])
        self.beck("user", "permit", "ada", "--nothing")
        self.assertEqual(self.users()["ada"], {"name": "ada", "password": True, "rules": [], "tokens": []})
        self.refused(USAGE, "user", "permit", "ada", says="--nothing")
        self.refused(USAGE, "user", "permit", "ada", "--nothing", "bus:a=read", says="--nothing")

    def test_tokens_are_shown_once(self):
        self.beck("user", "add", "ci", "--no-password")
        token = self.beck("user", "token", "ci", "one").out.strip()
        self.assertRegex(token, r"^beck_tk_[A-Za-z0-9_-]{43}$")
        other = self.beck("user", "token", "ci", "two", "--json").json[0]
        self.assertEqual((other["user"], other["name"], len(other["token"])), ("ci", "two", len(token)))
        self.assertNotIn(token, self.beck("user", "show", "ci").out)
        self.assertEqual(self.users()["ci"]["tokens"], ["one", "two"])
        self.refused(EXISTS, "user", "token", "ci", "one", says="revoke it first")
        self.beck("user", "revoke", "ci", "one")
        self.assertEqual(self.users()["ci"]["tokens"], ["two"])
        self.refused(NOT_FOUND, "user", "revoke", "ci", "one", says="no token")
        self.refused(NOT_FOUND, "user", "token", "eve", "one", says="eve")

    def test_a_new_password_keeps_the_rest(self):
        self.add("ada", "--allow", "bus:a=read")
        self.beck("user", "token", "ada", "one")
        before = self.users()
        self.beck("user", "password", "ada", "--password-stdin", stdin="other")
        self.assertEqual(self.users(), before)

    def test_delete(self):
        self.add("ada")
        self.beck("user", "delete", "ada")
        self.assertEqual(self.users(), {})
        self.assertIn("no user", self.beck("user", "list").err)
        self.refused(NOT_FOUND, "user", "delete", "ada", says="no user 'ada'")
        self.refused(NOT_FOUND, "user", "show", "ada", says="no user 'ada'")
        self.refused(NOT_FOUND, "user", "password", "ada", "--password-stdin", stdin="x\n", says="no user 'ada'")
        self.refused(NOT_FOUND, "user", "permit", "ada", "--nothing", says="no user 'ada'")

    def test_what_is_refused(self):
        self.add("ada")
        self.refused(EXISTS, "user", "add", "ada", "--no-password", says="exists")
        self.refused(USAGE, "user", "add", "a b", "--no-password", says="no name of a user")
        self.refused(USAGE, "user", "add", "bob", "--password-stdin", stdin="\n", says="empty")
        self.refused(USAGE, "user", "add", "bob", "--password-stdin", stdin="x" * 2000, says="too long")
        self.refused(USAGE, "user", "add", "bob", "--password-stdin", "--no-password", says="exclude")
        for rule in ("", "bus", "bus:a", "bus:a=", "bus:a=fly", "bus:a=read,", "topic:a=read", "server:x=read",
                     "servers=read", "bus:a=work", "queue:a=publish", "bus:=read", "bus:a b=read"):
            self.refused(USAGE, "user", "add", "bob", "--no-password", "--allow", rule)
        self.assertEqual(list(self.users()), ["ada"])

    @alone("a server makes its data directory")
    def test_a_directory_that_is_missing(self):
        self.refused(NOT_FOUND, "user", "list", says="no data directory")
        self.refused(NOT_FOUND, "user", "password", "ada", "--password-stdin", stdin="x\n", says="no data directory")

    def test_without_a_terminal_the_password_must_come_from_somewhere(self):
        pid = os.fork()
        if pid == 0:
            os.setsid()  # no controlling terminal
            os.dup2(os.open(os.path.join(self.dir, "err"), os.O_WRONLY | os.O_CREAT), 2)
            os.execve(PROGRAM, [PROGRAM, "user", "add", "ada"], self.environment())
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), USAGE)
        self.assertIn("--password-stdin", self.read("err")[0])

    def terminal(self, *args, answers):
        """Runs the program on a terminal, answers its questions; gives its exit code and what was shown."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(PROGRAM, [PROGRAM, *args], self.environment())
        shown = b""
        for question, answer in answers:
            while not shown.rstrip().endswith(question.encode()):
                select.select([fd], [], [])
                shown += os.read(fd, 4096)
            os.write(fd, answer.encode() + b"\n")
        while True:
            try:
                more = os.read(fd, 4096)
            except OSError:
                more = b""
            if not more:
                break
            shown += more
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    def test_a_terminal_is_asked_without_an_echo(self):
        code, shown = self.terminal("user", "add", "ada", answers=[("password for ada:", "tr0ub4dor"),
                                                                   ("the same again for ada:", "tr0ub4dor")])
        self.assertEqual(code, DONE, shown)
        self.assertNotIn("tr0ub4dor", shown)
        self.assertTrue(self.users()["ada"]["password"])
        code, shown = self.terminal("user", "password", "ada", answers=[("password for ada:", "one"),
                                                                        ("the same again for ada:", "two")])
        self.assertNotEqual(code, DONE)
        self.assertIn("not the same", shown)


if __name__ == "__main__":
    main()
