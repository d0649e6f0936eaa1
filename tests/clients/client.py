"""Runs the table of commands with one openstack client, in that client's own Python.

client.py {new|6} TABLE WORKDIR [ONLY]: prints a line for each command and, last, the sums as
JSON. Each command is the client's main function in a process of its own; what they all
import is imported once.
"""
import json
import os
import re
import shlex
import sys
import time

import openstackclient.shell

for name in ("openstack", "osc_lib.utils", "keystoneauth1.loading", "openstackclient.compute.client",
             "openstackclient.identity.client", "openstackclient.image.client", "openstackclient.network.client"):
    try:
        __import__(name)
    except ImportError:
        pass


def run(argv, log):
    """The client's exit code and output."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            sys.argv = ["openstack"] + argv
            code = openstackclient.shell.main(argv)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except BaseException as e:
            print(repr(e), file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1 if code not in (0, None) else 0)
    end = time.monotonic() + 120
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            status = 1
            with open(log, "a") as f:
                f.write("\nno end after 120 s\n")
            break
        time.sleep(0.005)
    with open(log, errors="replace") as f:
        return status, f.read()


def rows(path, client):
    for number, line in enumerate(open(path), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        who, check, command = (part.strip() for part in line.split(" | ", 2)) if line.count(" | ") >= 2 else (None, None, None)
        if who is None:
            sys.exit("%s:%d: want client | check | command" % (path, number))
        if who in ("both", client):
            yield check, command


def judge(check, status, out, names):
    """None, or what is wrong."""
    if check.startswith("!"):
        if status == 0:
            return "succeeded, and should not have"
        return None if re.search(check[1:], out) else "failed in another way than %r" % check[1:]
    if status != 0:
        return "failed"
    if check[:1] in ("/", "?"):
        return None if re.search(check[1:], out) else "the output lacks %r" % check[1:]
    if check:
        name, field = check.split("=", 1)
        try:
            doc = json.loads(out[re.search(r"[\[{]", out).start():])
            field, _, kind = field.partition(",")
            names[name] = str((doc[-1] if kind == "list" else doc)[field])
        except (ValueError, KeyError, IndexError, AttributeError) as e:
            return "no field %s: %r" % (field, e)
    return None


def main():
    client, table, work = sys.argv[1:4]
    only = sys.argv[4] if len(sys.argv) > 4 else ""
    names = {"work": work}
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for check, command in rows(table, client):
        if only and not re.search(only, command):
            continue
        if check.startswith("skip"):
            count["skipped"] += 1
            print("skip  %-3s %s (%s)" % (client, command, check[5:].strip()), flush=True)
            continue
        missing = [n for n in re.findall(r"\{([A-Za-z]+)\}", command + check) if n not in names]
        if missing:
            count["failed"] += 1
            print("FAIL  %-3s %s\n        {%s} was not learnt, as an earlier command failed" % (client, command, missing[0]), flush=True)
            continue
        for name, value in names.items():
            command = command.replace("{%s}" % name, value)
            check = check.replace("{%s}" % name, value)
        argv = ["--os-cloud", "kilonova"] + shlex.split(command)
        if "=" in check and check[:1] not in ("/", "?", "!"):
            argv += ["-f", "json"]
        began = time.monotonic()
        while True:
            status, out = run(argv, os.path.join(work, "out"))
            wrong = judge(check, status, out, names)
            if wrong is None or not check.startswith("?") or time.monotonic() > began + 40:
                break
            time.sleep(0.3)
        count["failed" if wrong else "passed"] += 1
        print("%s  %-3s %s  (%.1f s)" % ("FAIL" if wrong else "pass", client, command, time.monotonic() - began), flush=True)
        if wrong:
            print("        %s\n%s" % (wrong, "".join("        | %s\n" % l for l in out.strip().splitlines()[-12:])), end="", flush=True)
    with open(os.path.join(work, "count"), "w") as f:
        json.dump(count, f)


main()
