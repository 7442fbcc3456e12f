"""`aeb`: an agent's whole interface to the world. Every verb has --json.

Exit codes: 0 done, 1 a job that was waited for is not, 2 wrong use, 3 budget or run over, 4 robot busy, 5 policy failed, 7 station failed.
Messages say what to do next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoenvbench.errors import BudgetOver, UserError
from autoenvbench.record.clock import format_duration
from autoenvbench.record.text_limits import MAX_TITLE
from autoenvbench.station.client import StationClient, StationGone
from autoenvbench.text import short, visible
from autoenvbench.workspace import job_verbs, learning, literature, team_verbs
from autoenvbench.workspace.bundling import git, send_head
from autoenvbench.workspace.learner import LIVE, NEWEST

#: Reasons that lie in the policy's code and not in its skill: when every episode ends so, there is a bug to mend.
_BROKEN = ("policy_load_error", "policy_error", "policy_exited", "policy_unresponsive", "bad_action", "protocol_error")
#: And those for what it uses: CPU time, wall-clock, memory, processes, disk. (A `time_limit` is the task's own.)
_OVERUSED = ("_cpu_limit", "_wall_limit", "memory_limit", "process_limit", "disk_limit")
LEARN = "learn.py"  # the learner that a workspace may begin with
SHEETS = 2  # failures of a practice that leave pictures
_LINE_EVERY_S = 10.0  # while episodes run


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    own, command = job_verbs.split(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(own)
    args.command = command
    try:
        result, text = args.run(StationClient.from_home(), args)
    except StationGone:
        return _refused(args, BudgetOver("the run is over: its station is closed, and nothing more is run or counted"))
    except UserError as error:
        return _refused(args, error)
    except KeyboardInterrupt:
        return 130
    _print(json.dumps(result, indent=1) if args.json else visible(text, lines=True))
    return _exit_code(result)


def _refused(args: argparse.Namespace, error: UserError) -> int:
    if args.json:
        _print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
    print(visible(f"aeb: {error}", lines=True), file=sys.stderr)
    return error.exit_code


def _exit_code(result: Any) -> int:
    """5 where no episode of an evaluation or practice got through the policy's own code, or a learner crashed; 1 where not all jobs are done
    that were waited for; 0 otherwise."""
    if isinstance(result, dict) and result.get("learner_failed"):
        return 5
    if isinstance(result, dict) and result.get("all_done") is False:
        return 1
    failures = result.get("failures", {}) if isinstance(result, dict) else {}
    broken = sum(n for reason, n in failures.items() if reason.startswith(_BROKEN) or reason.endswith(_OVERUSED))
    return 5 if broken and broken == result["episodes"] else 0


def _print(text: str) -> None:
    """To standard output. Whoever reads no further (`aeb status | head -3`) has what they wanted, and ends no job."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- verbs -----------------------------------------------------------------------------------------------------------
def _status(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    s = client.get("/status")
    done = s["finished"]
    lines = [
        f"environment   {s['env']}  (track {s['track']}, pace {s['pace']:g})",
        f"budget left   {format_duration(s['budget_left_s'])} of {format_duration(s['budget_s'])}",
        *_robot_time(s),
        *_robots(s),
        f"best          {_rate(s['best'])}  (confirmed{_pooled(s['best_pools'], s['best_pooled'])})",
        *_what_is_left(s["best"]),
        *([f"team's best   {_rate(s['team_best'])}  (aeb peers)"] if s["team_best"] else []),
        f"best single   {_single(s['best_single'])}",
        f"finished      {done['evaluate']} evaluations, {done['confirm']} confirmations, {done['practice']} practices, "
        f"{done['heldout']} held-out scorings, {done['learn']} learning sessions",
        f"submitted     {(s['submitted'] or 'nothing yet: the confirmed best will be scored')[:60]}",
        *(f"joined        {member}, {format_duration(t)} into the run (TEAM.md)" for member, t in s["joined"].items()),
        *(f"idea          {idea}" for idea in s["ideas"][-10:]),
    ]
    return s, "\n".join(lines)


def _robots(s: dict[str, Any]) -> list[str]:
    """Who has which robot, and who waits."""
    cells = s["cells"]
    if len(cells) == 1:
        lines = [f"robot         {cells[0]['job'] or 'free'}"]
    else:
        lines = [f"robot         {cell['cell']}: {cell['job'] or 'free'}" for cell in cells]
    return [*lines, *(f"waiting       {job}" for job in s["waiting"])]


def _idea(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    idea, words = _register(client, args.title, parent=args.parent, inspired_by=args.inspired_by, regime=args.regime)
    return idea, f"{words}; evaluations count towards your newest idea unless you say --idea"


def _practice(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head, watch = send_head(client, _workspace()), _Watch(quiet=args.json)
    body = {"digest": head.digest, "n": args.n, "video": args.video, "interactive": args.interactive, "sheets": SHEETS}
    if args.seed is not None:
        body["seed"] = args.seed
    if args.start is not None:
        body["start"] = _json(args.start)
    result = client.job("/practice", body, watch, watch.waits)
    where = [f"trajectories  {result['trajectories']}"]
    if result["asks"]:
        where += [f'film          aeb ask "what happened?" --film {film}' for film in result["videos"]]
    elif result["videos"]:
        where += [f"video         {video}" for video in result["videos"]]
        where.append(f"              {result['film']}")
    if result["successes"] < result["episodes"]:
        sheet = " --sheet" if result["pictures"] else ""
        where.append(f"failures      aeb episodes {result['evaluation']} --plot{sheet}")
        if result["asks"]:
            where.append(
                f'              aeb ask "why did it fail?" --episode {result["evaluation"]}-N, of the first two that failed'
            )
    return result, "\n".join([_table(result, watch.ends["practice"]), *where])


def _learn(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    watch = _Watch(quiet=args.json)
    r = learning.learn(
        client, _workspace(), args.command or [sys.executable, LEARN], n=args.n, minutes=args.minutes, on_episode=watch
    )
    lines = [
        f"ended         {r['ended']}",
        f"learner       {r['learner']}; {r['weights']} of its networks acted",
        *(f"refused       {why}" for why in r["refused"]),
        f"trajectories  {r['trajectories']}",
    ]
    if r["learner_failed"]:
        lines.append(
            "what to do    mend it and type aeb learn again: no episode is lost, and a learner goes on where its checkpoint stands"
        )
    return r, "\n".join([_table(r, watch.ends["learn"]), *lines])


def _evaluate(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head, watch, idea = send_head(client, _workspace()), _Watch(quiet=args.json), args.idea
    if idea is not None and " " in idea:  # a title: an idea that is registered here and now
        registered, words = _register(client, idea)
        idea = registered["id"]
        watch.say(words)
    body = {"digest": head.digest, "n": args.n, "idea": idea, "confirm": args.confirm}
    result = client.job("/evaluate", body, watch, watch.waits)
    text = _table(result, watch.ends["evaluate"])
    if confirmation := result.get("confirmation"):
        why = "As asked, it was" if args.confirm else "This beat the best so far, so it was"
        text += f"\n{why} confirmed on fresh starts:\n"
        text += _table(confirmation, watch.ends["confirm"])
    elif (known := result.get("candidate")) and known["episodes"]:
        text += f"\nconfirmed already, with the same files: now {100 * known['success_rate']:.0f} % of {known['episodes']} fresh episodes"
    return result, text


def _ask(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    about = {name: getattr(args, name) for name in ("camera", "episode", "film") if getattr(args, name) is not None}
    r = client.job("/ask", {"question": args.question, **about}, on_wait=_Watch(quiet=args.json).waits)
    return r, f"{r['answer']}\n({r['model']}, about {r['about']}; {r['questions_left']} questions left)"


def _compare(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head, watch = send_head(client, _workspace()), _Watch(quiet=args.json)
    r = client.job("/compare", {"digest": head.digest}, watch, watch.waits)
    what = {
        "challenger": "HEAD is better: it is the best now, and what was leads no more",
        "incumbent": "the best is better: it stays, and HEAD leads no more",
        "undecided": "a tie: the best stays what it was",
    }[r["verdict"]]
    return r, (
        f"{r['id']}  {r['commit'][:8]} against {r['against'][:8]}, {r['starts']} shared starts of at most {r['most']}: HEAD alone solved "
        f"{r['wins']}, the best alone {r['losses']}\n{what}"
    )


def _submit(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head = send_head(client, _workspace())
    return client.post("/submit", {"digest": head.digest}), (
        f"{head.commit[:12]} is your answer now; submit again to replace it. It will be scored on held-out starts."
    )


def _episodes(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    if args.plot or args.sheet:
        return _show(args)
    query = f"/episodes?limit={args.limit}" + (f"&evaluation={args.evaluation}" if args.evaluation else "")
    rows = client.get(query)
    lines = [f"{'episode':<10}{'purpose':<10}{'commit':<9}{'ok':<4}{'score':>6}  {'steps':>5}  {'s':>6}  stage, reason"]
    for r in rows:
        name = f"{r['evaluation']}-{r['index']}"
        lines.append(
            f"{name:<10}{r['purpose']:<10}{r['commit'][:8]:<9}{'yes' if r['success'] else '-':<4}{r['score']:>6.2f}  "
            f"{r['steps']:>5}  {r['sim_s']:>6.1f}  {r['stage']}{', ' + r['reason'] if r['reason'] else ''}"
        )
        if r["detail"]:
            lines.append("      " + r["detail"].strip().replace("\n", "\n      "))
    return rows, "\n".join(lines if rows else ["no episodes yet: aeb practice -n 5"])


def _show(args: argparse.Namespace) -> tuple[Any, str]:
    """PNG files of practice episodes, made from the files in data/practice alone: the station is not asked."""
    from autoenvbench.workspace import episode_views  # OpenCV takes a moment

    workspace = _workspace()
    files = episode_views.find(workspace, args.evaluation)
    into, made, why_not = workspace / episode_views.SHOWN, [], []
    for make in [*([episode_views.plot] if args.plot else []), *([episode_views.sheet] if args.sheet else [])]:
        for path in files:
            try:
                made.append(str(make(path, into).relative_to(workspace)))
            except UserError as error:
                why_not.append(str(error))
    if not made:
        raise UserError(why_not[0])
    return {"files": made, "without": why_not}, "\n".join([*made, *why_not])


def _literature(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    """Pages in the workspace: the station is not asked."""
    known = literature.sections(_workspace())
    if not args.words:
        pages = {section.page: section.title for section in known}
        return pages, "\n".join(f"{page:<38}{title}" for page, title in pages.items())
    found = literature.search(known, " ".join(args.words))
    text = "\n\n".join(
        f"{s.page}  {s.title}{': ' + s.heading if s.heading else ''}\n{s.text}" for s in found
    )  # fmt: skip
    return [asdict(s) for s in found], text or (
        f"nothing about {' '.join(args.words)!r}; `aeb literature` lists the pages, and other words may be theirs"
    )


def _stop(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    return client.stop(), "stopped; the episode that was under way is over, as your outcome"


def _note(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    return client.post("/notes", {"text": args.text}), "noted"


# -- parts -----------------------------------------------------------------------------------------------------------
def _workspace() -> Path:
    return Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--start is no JSON ({error}); write it like --start '{{\"tip\": [0, 0, 0.0045]}}'") from None


def _register(client: StationClient, title: str, **more: Any) -> tuple[dict[str, Any], str]:
    """A new idea, and what to say of it. Too long a title is shortened, so that what follows on the same line still runs."""
    line = " ".join(title.split())
    shortened = short(line, MAX_TITLE)
    idea: dict[str, Any] = client.post("/ideas", {"title": shortened if len(line) > MAX_TITLE else title, **more})
    if len(line) <= MAX_TITLE:
        return idea, f"{idea['id']} registered"
    client.post("/notes", {"text": f"{idea['id']}: {title}"})
    return idea, (
        f"{idea['id']} registered with its first {MAX_TITLE} of {len(line)} characters, which is all that a title may have; "
        "the whole text is kept as a note"
    )


class _Watch:
    """Takes a job's episodes as they are judged: says now and then how it stands, and counts how they failed.

    Attributes:
        ends: by purpose: failures by the stage that was reached and the reason.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._due, self._purpose = quiet, 0.0, ""
        self._judged, self._succeeded = Counter[str](), Counter[str]()
        self.ends: dict[str, Counter[tuple[str, str]]] = {
            name: Counter() for name in ("practice", "learn", "evaluate", "confirm", "compare")
        }

    def __call__(self, episode: dict[str, Any]) -> None:
        purpose = episode["purpose"]
        self._judged[purpose] += 1
        self._succeeded[purpose] += episode["success"]
        if not episode["success"]:
            self.ends[purpose][episode["stage"], episode["reason"]] += 1
        now = time.monotonic()
        if now >= self._due or purpose != self._purpose:
            self._due, self._purpose = now + _LINE_EVERY_S, purpose
            self.say(f"  {purpose}: {self._judged[purpose]} episodes so far, {self._succeeded[purpose]} succeeded")

    def waits(self, jobs: list[str]) -> None:
        """Say whom the job waits for."""
        self.say(
            f"  waiting for a robot; they have: {'; '.join(jobs) or 'none that is ready'}. Yours goes on by itself"
        )

    def say(self, line: str) -> None:
        """Print a line, unless the output is one JSON object."""
        if not self._quiet:
            _print(visible(line))


def _table(r: dict[str, Any], ends: Counter[tuple[str, str]]) -> str:
    lines = [
        f"{r['evaluation']}  {r['commit'][:8]}  {r['successes']}/{r['episodes']} succeeded  "
        f"({100 * r['success_rate']:.0f} %, 95 % interval {100 * r['wilson95'][0]:.0f} to {100 * r['wilson95'][1]:.0f} %), "
        f"score {r['score']:.2f}"
    ]
    lines += [f"failed        {n} x {reason}, last stage {stage or '-'}" for (stage, reason), n in ends.most_common()]
    if r["detail"]:
        lines.append("first error   " + r["detail"].strip().replace("\n", "\n              "))
    if r["aborted"]:
        lines.append("cut off before its end; an episode that was under way counts as it stood")
    return "\n".join(lines)


def _rate(best: dict[str, Any] | None) -> str:
    if best is None:
        return "none yet"
    return f"{100 * best['success_rate']:.0f} % of {best['episodes']} episodes, commit {best['commit'][:8]}"


def _single(best: dict[str, Any] | None) -> str:
    """The highest of all single evaluations, which nobody should mistake for what was confirmed."""
    return _rate(best) + (", in one evaluation: the highest of several flatters, and does not count" if best else "")


def _pooled(candidates: list[list[int]], count: int) -> str:
    """That the estimate is of several candidates, where it is: how many, and successes and episodes of the first of them, the leader first."""
    if count < 2:
        return ""
    wins, episodes = candidates[0]
    return (
        f"; one estimate of {count} candidates that cannot be told apart, of which this one leads with {wins} of {episodes} of its "
        "own, which may be luck"
    )


def _robot_time(s: dict[str, Any]) -> list[str]:
    """How much of the robot's time is used, and what a run that grants so much of it leaves."""
    used, granted = s["robot_s"], s["robot_budget_s"]
    if granted is None:
        return [f"robot time    {format_duration(used)} used"]
    left = format_duration(max(0.0, granted - used))
    return [f"robot time    {left} left of {format_duration(granted)}: the run ends when it is used up"]


def _what_is_left(best: dict[str, Any] | None) -> list[str]:
    """Where no episode of the confirmed best failed, what can still be gained."""
    if best is None or best["success_rate"] < 1:
        return []
    return [
        f"left to do    a longer proof: {best['episodes']} episodes without a failure show {100 * best['wilson95'][0]:.1f} % or more; each "
        "`aeb evaluate` of this commit adds to them",
        "              fewer robot-minutes: shorter episodes, and fewer of them, reach the same rate",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aeb", description="Your interface to the robot station. Start with TASK.md.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        p = verbs.add_parser(name, parents=[common], help=help, description=help)
        p.set_defaults(run=run)
        return p

    verb("status", _status, "budget left, robot free or busy, best so far")
    idea = verb("idea", _idea, "register a hypothesis before you test it")
    idea.add_argument("title", help=f"3 to {MAX_TITLE} characters; a longer one is shortened, and noted in full")
    idea.add_argument("--parent", metavar="I3", help="the idea this one refines")
    idea.add_argument("--inspired-by", metavar="I7", action="append", default=[], help="another's idea you build on")
    idea.add_argument("--regime", help="heuristic, tools, bc, offline-rl, online-rl or mixed")
    practice = verb("practice", _practice, "run HEAD on public starts; trajectories land in data/practice")
    practice.add_argument("-n", type=int, default=5, metavar="N", help="episodes (default 5)")
    practice.add_argument(
        "--seed",
        type=int,
        help="first practice start (default: the next unused one); equal seeds give two commits equal starts",
    )
    practice.add_argument("--start", metavar="JSON",
                          help="an exact start in place of a drawn one, as TASK.md has it under Starts: '{\"tip\": [0, 0, 0.0045], ...}'")  # fmt: skip
    practice.add_argument(
        "--interactive",
        action="store_true",
        help="let a script (`def run(tools)`) use get_task_info, reset_env, reset_to_initial",
    )
    practice.add_argument(
        "--video",
        action="store_true",
        help="film every step of the first success and the first failure: no robot time, but a simulation draws 20 to 60 steps a second after each, and the "
        "robot waits (an episode of 240 steps: 4 to 12 s)",
    )
    learn = verb(
        "learn",
        _learn,
        "lease the robot to a learner of yours: its newest network acts, episode by episode, and the trajectories land in data/learn; "
        f"PROGRAM replaces {LIVE / NEWEST} as a whole whenever it knows better (default: python {LEARN})",
    )
    learn.add_argument("-n", type=int, default=1000, metavar="N", help="episodes at most (default 1000)")
    learn.add_argument("--minutes", type=float, default=30.0, metavar="M", help="at most (default 30)")
    learn.usage = learn.format_usage().removeprefix("usage: ").rstrip() + " [-- PROGRAM]"
    evaluate = verb("evaluate", _evaluate, "score HEAD on fresh secret starts; the best is confirmed at once")
    evaluate.add_argument("-n", type=int, default=20, metavar="N", help="episodes (default 20, the least that counts)")
    evaluate.add_argument(
        "--idea", metavar="I7", help="the idea of yours under test, or a new one in words (default: your newest)"
    )
    evaluate.add_argument(
        "--confirm",
        action=argparse.BooleanOptionalAction,
        help="confirm HEAD on fresh starts (50, and 150 more where 98 %% of those succeed) also if it does not beat the best; "
        "--no-confirm: not even if it does, since that holds the robot",
    )
    verb(
        "compare",
        _compare,
        "decide a tie: HEAD, confirmed, and the best on shared fresh starts (up to 100: 200 episodes)",
    )
    verb("submit", _submit, "make HEAD your answer, to be scored on held-out starts at the end")
    ask = verb("ask", _ask, "in runs without pictures: ask a model that sees them; it answers in words")
    ask.add_argument("question", help='such as "where is the pin, and where is the hole?"')
    ask.add_argument("--camera", metavar="NAME", help="about what this camera sees now (default: top)")
    ask.add_argument("--episode", metavar="E3-2", help="about the pictures of an episode of practice, a failure")
    ask.add_argument("--film", metavar="E3-failure", help="about a film that `aeb practice --video` made")
    episodes = verb("episodes", _episodes, "judged episodes with stage, reason and error; or pictures of practice")
    episodes.add_argument("evaluation", nargs="?", metavar="E4", help="only this batch; to be shown, one of practice (E4), or an episode of it (E4-2)")  # fmt: skip
    episodes.add_argument("--plot", action="store_true", help="a PNG per failure of a practice (default: the newest), or of the episode named: force, position, stage, actions over time")  # fmt: skip
    episodes.add_argument(
        "--sheet", action="store_true", help="the same with pictures: from the start on, the last one large"
    )
    episodes.add_argument("--limit", type=int, default=50)
    pages = verb("literature", _literature, "pages on methods: those that say most about some words, or a list")
    pages.add_argument(
        "words", nargs="*", metavar="WORDS", help="such as: spiral search, cloning history, sparse reward"
    )
    job_verbs.add(verb, common)
    team_verbs.add(verb)
    verb("stop", _stop, "stop a real station's arms at once; the episode under way counts as it stands")
    note = verb("note", _note, "write a remark into the run's record")
    note.add_argument("text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
