"""Says what came out of gophercloud's tests: report.py EXCLUDED OUTPUT...

OUTPUT is what `go test -v` printed; a test that one run skips counts as what another makes
of it. Exits 1 if a test failed or none passed.
"""
import collections
import re
import sys

RESULT = re.compile(r"^--- (PASS|FAIL|SKIP): (\S+) \(")


def read(path):
    """name -> (result, its lines)."""
    results, lines, name = {}, collections.defaultdict(list), None
    with open(path, errors="replace") as f:
        for line in f:
            line = line.rstrip("\n")
            started = re.match(r"^=== (?:RUN|CONT|NAME)\s+(\S+)", line)
            if started:
                name = started[1].split("/")[0]
                continue
            m = RESULT.match(line)
            if m:
                results[m[2]] = m[1]
                name = m[2]
            elif name and line not in ("PASS", "FAIL"):
                lines[name].append(line)
    for name in lines:  # it began and never ended: a panic or the time limit
        results.setdefault(name, "FAIL")
    return {name: (result, lines[name]) for name, result in results.items()}


def main():
    results = {}
    for path in sys.argv[2:]:
        for name, result in read(path).items():
            if results.get(name, ("SKIP",))[0] == "SKIP":
                results[name] = result
    counts = collections.Counter(result for result, _ in results.values())
    for name, (result, lines) in results.items():
        print(f"{result.lower():4} {name}")
        if result == "FAIL":
            for line in lines[-40:]:
                print("     " + line)
    with open(sys.argv[1]) as f:
        excluded = [line.split(None, 1) for line in f if line.startswith("Test")]
    for name, reason in excluded:
        print(f"not run: {name}: {reason.strip()}")
    for name, (result, lines) in results.items():
        if result == "SKIP":
            said = [line.strip() for line in lines if line.strip()]
            print(f"skipped: {name}: {said[-1] if said else 'no reason given'}")
    for name, (result, _) in results.items():
        if result == "FAIL":
            print(f"failed: {name}")
    print(f"gophercloud: {counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped, {len(excluded)} not run")
    sys.exit(1 if counts["FAIL"] or not counts["PASS"] else 0)


if __name__ == "__main__":
    main()
