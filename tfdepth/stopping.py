"""What SIGTERM and Ctrl-C do: they end a program at once, or, while it trains, after it has saved.

Schedulers send SIGTERM some 30 seconds before they kill; a process that ends with exit code 0 then
has kept what it did. Python runs handlers in the main thread, and only there can they be set; in
other threads signals do what they did before.
"""
import contextlib
import signal
import threading


class Terminated(SystemExit):
    """SIGTERM ended the work. The text says whether, and from where, the same command goes on."""

    def __init__(self, text, code=0):
        super().__init__(text)
        self.code = code    # also of a script that does not catch it


def ended_by_sigterm(text="the same command goes on", code=0):
    """A context in which SIGTERM raises Terminated at once, with `text` and an exit code."""
    def end(number, _):
        signal.signal(number, signal.SIG_IGN)     # what is tidied up on the way out, is
        raise Terminated(text, code)
    return _handled({signal.SIGTERM: end})


class Stopping:
    """A context in which SIGTERM and the first Ctrl-C wait until the work can be saved.

    They end the program at once until `hold` is called: there is nothing to save before. So does
    a second Ctrl-C at any time.
    """

    def __init__(self):
        self._number, self._holds, self._handlers = None, False, None

    def __enter__(self):
        self._handlers = _handled({signal.SIGTERM: self._take, signal.SIGINT: self._take})
        self._handlers.__enter__()
        return self

    def __exit__(self, *error):
        return self._handlers.__exit__(*error)

    def hold(self):
        """From now on signals wait: whoever calls this looks at `asked` often, saves and ends."""
        self._holds = True

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def end(self, text, code=0):
        """Ends the program as the signal asks, or, where another worker has got one, as SIGTERM.

        Args: code: the exit code after SIGTERM.
        Raises: Terminated, or KeyboardInterrupt, with `text`.
        """
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt(text)
        raise Terminated(text, code)

    def _take(self, number, _):
        again, self._number = self.asked(), self._number or number
        if number == signal.SIGINT if again else not self._holds:
            self.end("the same command goes on from the last checkpoint, if there is one")


@contextlib.contextmanager
def _handled(handlers):
    """Sets {signal: handler} where it can be set and is not muted, as by nohup; then as before."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in handlers
                  if signal.getsignal(number) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handlers[number])
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
