"""Wrong passwords, many of them: others are served meanwhile (gate 20)."""

import base64
import threading
import time

import bcrypt
import pytest

from tests.contract.faults.serving import Session, allowed, percentile, probe, served


@pytest.mark.parametrize(("seconds", "cost"), [(2.5, 6), pytest.param(30, 10, marks=pytest.mark.long)])
def test_wrong_passwords_do_not_hold_others_up(tmp_path, seconds, cost, figure):
    """A hundred in a second are compared beside the loop: ``GET /v2/`` has a p99 of 100 ms at most."""
    users = tmp_path / "htpasswd"
    users.write_text("ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(cost)).decode() + "\n")
    with served(tmp_path / "root", htpasswd=str(users)) as server:
        stop, times, refused = threading.Event(), [], []
        worst = allowed(server.url, 0.1)

        def guess(number):
            session = Session(server.url)
            turn = 0
            while not stop.is_set():
                turn += 1
                secret = base64.b64encode(f"ann:{number}.{turn}".encode()).decode()
                status = session("GET", "/v2/", headers={"Authorization": f"Basic {secret}"})[0]
                refused.append(status)
                stop.wait(0.1)
            session.close()

        threads = [threading.Thread(target=guess, args=(number,)) for number in range(10)]
        threads.append(threading.Thread(target=probe, args=(server.url, stop, times)))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        server.stop()
    assert set(refused) == {401}
    slow = percentile(times, 0.99)
    assert slow <= worst
    figure(
        20, f"{len(refused) / seconds:.0f} wrong passwords a second (cost {cost}): p99 {1000 * slow:.0f} ms"
    )
