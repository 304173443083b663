"""What holds for every test: the signals of an interactive shell, however the run was started."""

import signal


def pytest_configure(config):
    """
    Let children be interrupted.

    Background jobs of a script, and what nohup starts, inherit ignored signals and hand them on; the tests of
    interruption need them to arrive.
    """
    del config
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
