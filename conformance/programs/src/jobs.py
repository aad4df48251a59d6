"""Job control on a terminal: an interactive bash starts programs, and a user types.

The words after the script come before each program. What bash and the programs print is waited for,
so the order of all that happens is given; what is printed here is equal in all runs."""
import os
import pty
import re
import select
import signal
import sys
import termios
import time

PREFIX = " ".join(sys.argv[1:])
PATIENCE = 60


def on_continue():
    """A program that says when it is continued."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"went on\n"))
    os.write(1, b"begun\n")
    while True:
        signal.pause()


class Terminal:
    def __init__(self):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Else the kernel throws away what is typed and printed just after it has sent a signal.
            modes = termios.tcgetattr(0)
            modes[3] |= termios.NOFLSH
            termios.tcsetattr(0, termios.TCSANOW, modes)
            os.environ["PS1"] = "ready> "
            os.environ["TERM"] = "dumb"
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
        self.expect("ready> ")

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, patience=PATIENCE):
        """Takes what comes up to a match of the pattern; the match."""
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.fd], [], [], patience)
            if not ready and patience < PATIENCE:
                return None
            if not ready:
                sys.exit(f"waited for {pattern!r}, got {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                sys.exit(f"the shell ended before {pattern!r}: {self.seen!r}")
        self.seen = self.seen[match.end():]
        return match.group(0)

    def start(self, program):
        self.type(f"{PREFIX} {program}\n")
        self.expect(r"\n")

    def stop(self):
        self.type("\x1a")
        self.expect(r"Stopped")
        self.expect(r"ready> ")
        self.type("jobs\n")
        while not self.expect(r"Stopped", 0.2):
            # A program whose stop is still on its way to it took the line.
            self.type("jobs\n")
        self.expect(r"ready> ")

    def go_on(self):
        self.type("fg\n")
        self.expect(r"fg\r\n[^\n]*\r\n")
        # The shell says so first, and gives the terminal away then.
        while os.tcgetpgrp(self.fd) == self.pid:
            time.sleep(0.001)

    def say(self, word):
        """A program on the terminal repeats it."""
        self.type(f"{word}\n")
        self.expect(rf"{word}\r\n(jobs\r\n)*{word}")

    def interrupt(self):
        self.type("\x03")
        self.expect(r"ready> ")
        self.type("echo status $?\n")
        print(self.expect(r"status \d+"))
        self.expect(r"ready> ")


def foreground():
    terminal = Terminal()
    terminal.start("cat")
    for word in ("one", "two"):
        terminal.say(word)
        terminal.stop()
        terminal.go_on()
    terminal.interrupt()


def pipeline():
    terminal = Terminal()
    terminal.start("bash -c 'cat | cat; :'")
    for word in ("one", "two"):
        terminal.say(word)
        terminal.stop()
        terminal.go_on()
    terminal.interrupt()


def background():
    terminal = Terminal()
    terminal.start(f"python3 {__file__} on-continue")
    terminal.expect("begun")
    terminal.stop()
    # The one process that the shell knows of.
    terminal.type("kill -CONT $(jobs -p)\n")
    terminal.expect("went on")
    terminal.go_on()
    terminal.interrupt()
    # Another process group goes on when the job is stopped.
    terminal.start("bash -c 'setsid sleep 2 & cat'")
    terminal.say("begun")
    terminal.stop()
    terminal.go_on()
    terminal.say("three")
    terminal.type("\x04")
    terminal.expect(r"ready> ")
    # A program that reads the terminal in the background.
    terminal.type(f"{PREFIX} cat &\n")
    terminal.expect(r"ready> ")
    terminal.type("while [ -z \"$(jobs -s)\" ]; do sleep 0.02; done; echo has ''stopped\n")
    terminal.expect(r"has stopped")
    terminal.expect(r"ready> ")
    terminal.go_on()
    terminal.say("four")
    terminal.interrupt()


if PREFIX == "on-continue":
    on_continue()
for session in (foreground, pipeline, background):
    print(session.__name__)
    session()
