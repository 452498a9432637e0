"""Commits whose outcome is unknown to the agent that asked for them, many of them: each must be resolved one way.

The proxy in front of the database loses answers to COMMITs (they happened), loses COMMITs (they did not), lets COMMITs arrive
after their connection is gone (nobody knows when), and delays answers until the agent has given them up.
"""

import time

from trial import Trial

GIVEN_UP_S = (10.5, 12.0)
"""How long an answer is delayed: an agent waits 10 s."""
LATE_S = (0.0, 3.0)
PER_COMMIT_S = 1.5
"""How long one ambiguous commit may take, on average, before something is stuck."""


def ambiguous(trial: Trial) -> None:
    """A fifth of COMMITs' answers is lost, others come too late, COMMITs arrive late or never, until `--count` were ambiguous."""
    cluster = trial.cluster
    proxy = cluster.proxies["postgres"]
    answers_lost = proxy.rule("commit-answer", "lose", share=0.2)
    rules = (answers_lost, proxy.rule("commit", "late", share=0.05, seconds=LATE_S), proxy.rule("commit", "lose", share=0.05),
             proxy.rule("commit-answer", "delay", share=0.001, seconds=GIVEN_UP_S), proxy.rule("commit-answer", "delay", times=1, seconds=GIVEN_UP_S))
    began = time.monotonic()
    with trial.gap(f"while {trial.count} COMMITs were ambiguous"):
        while len(proxy.deeds(*rules)) < trial.count:
            if time.monotonic() - began > 60 + PER_COMMIT_S * trial.count:
                raise RuntimeError(f"only {len(proxy.deeds(*rules))} ambiguous commits in {time.monotonic() - began:.0f} s")
            time.sleep(0.2)
    proxy.forget(*rules)
    # What is not resolved yet is before the workload's last sends are answered.
    cluster.wait_ready(40)
    deeds = proxy.deeds(*rules)
    trial.questions.append(lambda: _unresolved(trial, deeds))


def _unresolved(trial: Trial, deeds: list[dict]) -> list[str]:
    """Segments of which the database says neither that they are there nor that they can never be. What a session left open
    when it ended is settled by its end."""
    rows = trial.cluster.sql("SELECT session, lane_sequence, kind FROM segments")
    kinds = {(int(session), int(lane)): kind for session, lane, kind in rows}
    active = {int(session) for session, in trial.cluster.sql("SELECT session FROM sessions WHERE active")}
    complaints, outcomes = [], {"committed": 0, "refused": 0, "not begun when its session ended": 0}
    for deed in deeds:
        for session, lane in deed["segments"]:
            kind = kinds.get((session, lane))
            if kind is None and session in active:
                complaints.append(f"unresolved: segment {lane} of session {session}, whose COMMIT the proxy {deed['did']}")
            outcome = "refused" if kind == "0" else "committed" if kind else "not begun when its session ended"
            outcomes[outcome] += 1
    print(f"    {len(deeds)} ambiguous commits; segments " + ", ".join(f"{name} {count}" for name, count in outcomes.items()), flush=True)
    return complaints
