"""report.py STREAM EXCLUDED: what a stream of subunit says, in words, and 0 when nothing failed."""
import collections
import re
import sys

import subunit
import testtools


def text(test, name):
    d = test["details"].get(name)
    return d.as_text().strip() if d is not None else ""


def excluded(path):
    for line in open(path):
        pattern, _, reason = line.partition("#")
        if pattern.strip():
            yield pattern.strip(), reason.strip()


def main():
    stream, exclusions = sys.argv[1:3]
    failed, skipped, passed = [], collections.defaultdict(list), 0

    def done(test):
        nonlocal passed
        name = re.sub(r"\[.*", "", test["id"])
        if test["status"] in ("success", "xfail"):
            passed += "Class (" not in name
        elif test["status"] == "skip":
            skipped[text(test, "reason") or "no reason given"].append(name)
        elif test["status"] != "exists":
            said = text(test, "traceback") or "\n".join(d.as_text() for d in test["details"].values())
            failed.append((name, test["status"], said))

    def shorten(said):
        """Where in the test it failed, and what was said; not the way between."""
        frames = re.findall(r'(?m)^  File ".*?/(tempest/[^"]*)", (line \d+), in (\w+)', said)
        where = ["%s, %s, %s" % f for f in frames if f[0].startswith("tempest/api")][-1:] or ["%s, %s, %s" % f for f in frames][-1:]
        what = re.split(r"(?m)^(?=[\w.]+(?:Error|Exception|exceptions\.\w+|Conflict|Timeout\w*)\b)", said)[-1]
        return where + what[:1500].splitlines()[:20]

    result = testtools.StreamToDict(done)
    result.startTestRun()
    with open(stream, "rb") as f:
        subunit.ByteStreamToStreamResult(f, non_subunit_name="output").run(result)
    result.stopTestRun()
    for name, status, said in sorted(failed):
        print("%s %s" % ("FAIL" if status == "fail" else status, name))
        print("".join("     %s\n" % line for line in shorten(said)))
    for reason, names in sorted(skipped.items(), key=lambda kv: (-len(kv[1]), kv[0])):
        print("skipped %d: %s" % (len(names), reason.splitlines()[0]))
        for name in sorted(names):
            print("     %s" % name)
    for pattern, reason in excluded(exclusions):
        print("not run: %s (%s)" % (pattern, reason))
    for name, _, _ in sorted(failed):
        print("failed %s" % name)
    print("%d passed, %d failed, %d skipped" % (passed, len(failed), sum(map(len, skipped.values()))))
    sys.exit(1 if failed or not passed else 0)


main()
