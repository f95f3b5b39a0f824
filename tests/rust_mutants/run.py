"""Tries the mutants that cargo-mutants finds in some files, all of them in one build.

cargo-mutants builds once for each; a build of the whole service takes minutes. Here the list is cargo-mutants' own,
and all of it is woven into a copy of the package (weave.py). One run of the tests tells which test reaches
which mutant; then each mutant is switched on in turn, and the tests that reach it run until one fails.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

import weave

HERE = pathlib.Path(__file__).resolve().parent
# Builds until no mutant is left that does not compile.
BUILDS_MAX = 30
# Tests of one run: few first, since most mutants are noticed by these.
TESTS_A_RUN = (3, 12, 40)
# How long a run of tests may take besides what they took, and how many times that.
START_SECONDS, SLOWER = 20, 4
# What is near a mutant.
NEAR_LINES = 25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=pathlib.Path, required=True, help="a copy of the package, which is changed")
    parser.add_argument("--files", required=True, help="only mutants of files whose path matches")
    parser.add_argument(
        "--tests", action="append", default=[], help="arguments of cargo test that choose the binaries, as --lib"
    )
    parser.add_argument("--filter", action="append", default=[], help="only tests whose names hold one of these")
    parser.add_argument("--skip", action="append", default=[], help="no tests whose names hold one of these")
    parser.add_argument("--tests-max", type=int, default=sum(TESTS_A_RUN), help="how many tests a mutant is tried with")
    parser.add_argument("--sample", type=int, help="so many mutants only, chosen by --seed")
    parser.add_argument(
        "--again", type=pathlib.Path, help="a result of other tests: what those did not notice is tried, too"
    )
    parser.add_argument("--resume", action="store_true", help="keep what --result says was noticed before")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are tried at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=120, help="seconds that a run of tests may take at most")
    parser.add_argument("--result", type=pathlib.Path, required=True)
    return parser.parse_args()


def listed(options):
    command = ["cargo", "mutants", "--list", "--json", "--dir", str(options.package)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = [it for it in found if re.search(options.files, it["file"])]
    for number, mutant in enumerate(found, 1):
        mutant["number"] = number
    return found


def write(package, texts, mutants, kept):
    """Weaves into each file those of its mutants that are left; those for which there is no way."""
    left_out = []
    for file, text in texts.items():
        source = weave.Source(text, kept)
        left_out += [it for it in mutants if it["file"] == file and not source.add(it)]
        (package / file).write_text(source.woven())
    return left_out


def broken(package, tests):
    """What `blamed` finds by a check, or when that finds nothing by a build: some is only seen then."""
    for step in (["check"], ["test", "--no-run"]):
        numbers, constant = blamed(package, ["cargo", *step, "--message-format=json", *tests])
        if numbers or constant:
            break
    return numbers, constant


def blamed(package, command):
    """The numbers of the mutants that do not compile, by the marks that stand where the compiler points; and the names
    of functions that constants need."""
    done = subprocess.run(command, cwd=package, capture_output=True, text=True)
    numbers, constant, said = set(), set(), []
    for line in done.stdout.splitlines():
        message = json.loads(line).get("message") or {}
        if message.get("level") != "error":
            continue
        said.append(message.get("rendered", ""))
        called = re.match(r"cannot call non-const .*`(?:.*::)?(\w+)`", message["message"])
        if called:
            constant.add(called[1])
            continue
        spans = sorted(message.get("spans", []), key=lambda it: not it["is_primary"])
        numbers |= next(filter(None, (marks(package, it) for it in spans)), set())
    if done.returncode and not numbers and not constant:
        sys.exit("no mutant is to blame:\n" + "\n".join(said) + done.stderr[-2000:])
    return numbers, constant


def marks(package, span):
    path = package / span["file_name"]
    if not path.is_file():
        return set()
    lines = path.read_text().splitlines()[span["line_start"] - 1 : span["line_end"]]
    if len(lines) > 40:
        return set()
    return {int(it) for it in re.findall(r"/\*M(\d+)\*/", "\n".join(lines))}


def binaries(package, tests):
    command = ["cargo", "test", "--no-run", "--message-format=json", *tests]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    messages = (json.loads(line) for line in done.stdout.splitlines())
    return [it["executable"] for it in messages if it.get("executable") and it["profile"]["test"]]


def run_tests(package, binary, names, extra, timeout):
    """Whether those tests of a binary pass, when they end in time."""
    command = [binary, "--quiet", *names]
    process = subprocess.Popen(
        command,
        cwd=package,
        env=os.environ | extra,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
        return process.returncode == 0, said.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return False, "out of time"


def reached_by(package, found, options):
    """By mutant the tests that reach it, as (binary, test); by test its seconds; those that fail by themselves."""
    by_mutant, seconds, failing = {}, {}, set()
    for binary in found:
        folder = tempfile.mkdtemp(prefix="reached-")
        # The time of each test is told by libtest alone, and not yet to everybody.
        command = [binary, "-Z", "unstable-options", "--report-time", *options.filter]
        command += [f"--skip={it}" for it in options.skip]
        environment = os.environ | {"HEADROOM_REACHED": folder, "RUSTC_BOOTSTRAP": "1"}
        done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)
        for test, outcome, length in re.findall(r"^test (\S+) \.\.\. (\w+) <([\d.]+)s>", done.stdout, re.M):
            seconds[binary, test] = float(length)
            failing |= {(binary, test)} if outcome == "FAILED" else set()
        for file in pathlib.Path(folder).iterdir():
            for line in file.read_text().splitlines():
                number, _, thread = line.partition(" ")
                tests = by_mutant.setdefault(int(number), set())
                if (binary, thread) in seconds:
                    tests.add((binary, thread))
        shutil.rmtree(folder)
    return by_mutant, seconds, failing


def reached_before(options, texts, run):
    """What `run` finds, or what it found when it last ran with the same sources and tests."""
    file = options.result.with_suffix(".reached")
    sources = [(options.package / it).read_bytes() for it in sorted(texts)]
    key = hashlib.sha256(b"".join(sources) + repr((options.tests, options.filter, options.skip)).encode()).hexdigest()
    if file.exists():
        before = json.loads(file.read_text())
        if before["key"] == key:
            by_mutant = {int(number): {tuple(it) for it in tests} for number, tests in before["reached"]}
            seconds = {tuple(test): length for test, length in before["seconds"]}
            return by_mutant, seconds, {tuple(it) for it in before["failing"]}
    by_mutant, seconds, failing = run()
    reached = [(number, sorted(tests)) for number, tests in by_mutant.items()]
    found = {"key": key, "reached": reached, "seconds": list(seconds.items()), "failing": sorted(failing)}
    file.write_text(json.dumps(found))
    return by_mutant, seconds, failing


def noticed(package, mutant, tests, seconds, timeout):
    """The test run that notices a mutant, or None. Each run may take several times what its tests took."""
    at = 0
    for size in TESTS_A_RUN:
        chosen, at = tests[at : at + size], at + size
        for binary in {it[0] for it in chosen}:
            names = [it[1] for it in chosen if it[0] == binary]
            most = min(timeout, START_SECONDS + SLOWER * sum(seconds[binary, it] for it in names))
            passed, said = run_tests(
                package, binary, ["--exact", *names], {"HEADROOM_MUTANT": str(mutant["number"])}, most
            )
            if not passed:
                failed = re.findall(r"^    (\S+::\S+)$", said, re.M)
                return failed[0] if failed else said[-100:].strip() or "ended"
    return None


def compiled(options, mutants, texts):
    """Weaves what compiles. What was left out: without a way, and refused by the compiler."""
    no_way, refused, kept = [], [], set()
    for _ in range(BUILDS_MAX):
        no_way += write(options.package, texts, mutants, kept)
        mutants = [it for it in mutants if it not in no_way]
        numbers, constant = broken(options.package, options.tests)
        if not numbers and not constant:
            return mutants, no_way, refused
        kept |= constant
        dropped = [it for it in mutants if it["number"] in numbers]
        mutants = [it for it in mutants if it["number"] not in numbers]
        refused += dropped
        with options.result.open("a") as result:
            result.writelines(f"refused: {it['name']}\n" for it in dropped)
        print(f"{len(numbers)} do not compile, {len(mutants)} left; constants need {sorted(constant)}", flush=True)
    sys.exit("the mutants that do not compile come to no end")


def outcomes(file):
    """By the name of a mutant what came of it in an earlier run."""
    lines = file.read_text().splitlines() if file and file.exists() else []
    parted = (line.partition(": ") for line in lines)
    return {re.sub(r" (by \S+|\(\d+ tests\))$", "", rest): outcome for outcome, _, rest in parted}


def main():
    options = arguments()
    mutants = listed(options)
    print(f"{len(mutants)} mutants", flush=True)
    root = options.package / "src/lib.rs"
    shutil.copy(HERE / "switch.rs", options.package / "src/switch.rs")
    lints = "#![allow(arithmetic_overflow, unconditional_panic)]\n"
    root.write_text(lints + root.read_text() + "\n#[doc(hidden)]\npub mod switch;\n")
    texts = {it: (options.package / it).read_text() for it in {m["file"] for m in mutants}}
    before = outcomes(options.again)
    # What the compiler refuses is known from the run before.
    known = outcomes(options.result) | before
    kept = {name for name, outcome in known.items() if options.resume and outcome == "noticed" and name not in before}
    refused_before = [it for it in mutants if known.get(it["name"]) == "refused"]
    mutants = [it for it in mutants if it not in refused_before]
    mutants, no_way, refused = compiled(options, mutants, texts)
    found = binaries(options.package, options.tests)
    # The tests' Postgres is made once for all runs, not once for each (tests/it/support/stores.rs).
    postgres = tempfile.TemporaryDirectory(prefix="postgres-", dir=options.result.parent)
    os.environ["HEADROOM_TEST_POSTGRES"] = f"{postgres.name}/kept"
    by_mutant, seconds, failing = reached_before(options, texts, lambda: reached_by(options.package, found, options))
    print(f"{len(by_mutant)} of {len(mutants)} are reached; failing without a mutant: {sorted(failing)}", flush=True)
    tried = [it for it in mutants if it["name"] not in before and it["name"] not in kept]
    if options.sample and options.sample < len(tried):
        tried = random.Random(options.seed).sample(tried, options.sample)
    tried += [it for it in mutants if before.get(it["name"]) in ("not noticed", "not reached")]
    left_out = {"no way": no_way, "refused": refused_before + refused}
    left_out["noticed"] = [{"name": it} for it in sorted(kept)]
    try_all(options, mutants, tried, (by_mutant, seconds, failing), left_out)


def in_order(tests, file, near, same_file, weights):
    """First the unit tests of the mutant's file. Then in turn the tests that reach what few others reach near the
    mutant, and in its file: they are about it. Of alike ones the lightest first."""
    module = re.sub(r"^src/|(/mod)?[.]rs$", "", file).replace("/", "::") + "::tests::"

    def by_rarity(places):
        rarest = {test: min(len(reaching) for reaching in places if test in reaching) for test in tests}
        return sorted(tests, key=lambda it: (rarest[it], weights[it], it))

    of_file = sorted(it for it in tests if it[1].startswith(module))
    in_turn = itertools.chain.from_iterable(zip(by_rarity(near), by_rarity(same_file), strict=True))
    return list(dict.fromkeys([*of_file, *in_turn]))


def try_all(options, mutants, tried, reached, left_out):
    """Tries some of the mutants that are woven in."""
    by_mutant, seconds, failing = reached
    reaches = collections.Counter(test for tests in by_mutant.values() for test in tests)
    # Tests that reach little besides look closer. A run itself takes seconds, too.
    weights = {test: count * (2 + seconds[test]) for test, count in reaches.items()}
    places = collections.defaultdict(list)
    for mutant in mutants:
        places[mutant["file"]].append((mutant["span"]["start"]["line"], by_mutant.get(mutant["number"], ())))
    counts = collections.Counter({key: len(them) for key, them in left_out.items()})

    def outcome_of(mutant):
        tests = [it for it in by_mutant.get(mutant["number"], ()) if it not in failing]
        line = mutant["span"]["start"]["line"]
        near = [reaching for at, reaching in places[mutant["file"]] if abs(at - line) <= NEAR_LINES]
        same_file = [reaching for _, reaching in places[mutant["file"]]]
        tests = in_order(tests, mutant["file"], near, same_file, weights)[: options.tests_max]
        by = noticed(options.package, mutant, tests, seconds, options.timeout) if tests else None
        outcome = "noticed" if by else "not noticed" if mutant["number"] in by_mutant else "not reached"
        return outcome, f"{mutant['name']}" + (f" by {by}" if by else f" ({len(tests)} tests)")

    with options.result.open("w") as result, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for key, them in left_out.items():
            result.writelines(f"{key}: {mutant['name']}\n" for mutant in them)
        for outcome, said in pool.map(outcome_of, tried):
            counts[outcome] += 1
            print(f"{outcome}: {said}", file=result, flush=True)
    print(", ".join(f"{key} {count}" for key, count in counts.items()))


if __name__ == "__main__":
    main()
