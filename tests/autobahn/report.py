#!/usr/bin/env python3
"""Reads an Autobahn report, prints it by group, and checks that every case has the expected result.

    report.py reports/SET/index.json --agent NAME --cases N

Exit 0 only if there are exactly N cases, the behaviour of each is OK (or INFORMATIONAL where the
suite does not judge), and the closing of each is OK or INFORMATIONAL. NON-STRICT is a failure, and so
is UNIMPLEMENTED, which the suite reports where compression was not negotiated.
"""

import argparse
import json
import sys
from collections import Counter

GROUPS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and speed",
    10: "auto-fragmentation",
    12: "compression",
    13: "compression parameters",
}
VERDICTS = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("index")
    parser.add_argument("--agent", required=True)
    parser.add_argument("--cases", type=int, required=True, help="the expected number of cases")
    args = parser.parse_args()

    try:
        with open(args.index) as file:
            agents = json.load(file)
    except (OSError, ValueError) as err:
        sys.exit(f"autobahn: no report: {err}")
    cases = agents.get(args.agent, {})

    print_table(cases)
    faults = list(find_faults(agents, args.agent, args.cases))
    for fault in faults:
        print(f"autobahn: {fault}", file=sys.stderr)
    print("autobahn:", "FAILED" if faults else f"all {len(cases)} cases have the expected result")
    sys.exit(1 if faults else 0)


def find_faults(agents, agent, expected):
    """Yields a sentence for every difference from the expected result."""
    if list(agents) != [agent]:
        yield f"the report should be of {agent} alone, but is of {', '.join(agents) or 'no agent'}"
    cases = agents.get(agent, {})
    if len(cases) != expected:
        yield f"{len(cases)} cases in the report, {expected} expected"
    for case in sorted(cases, key=number):
        behavior, closing = cases[case]["behavior"], cases[case]["behaviorClose"]
        if behavior != "OK" and not (behavior == "INFORMATIONAL" and is_informational(case)):
            yield f"case {case}: {behavior}"
        if closing not in ("OK", "INFORMATIONAL"):
            yield f"case {case}: {closing} in closing"


def is_informational(case):
    """Returns whether the suite itself only informs about this case, whatever the client does."""
    return case == "7.1.6" or case.startswith("7.13.")


def print_table(cases):
    verdicts = VERDICTS + sorted({case["behavior"] for case in cases.values()} - set(VERDICTS))
    rows = Counter()
    for case, result in cases.items():
        rows[number(case)[0], result["behavior"]] += 1

    def line(name, counts):
        print(f"{name:<28}{sum(counts):>6}" + "".join(f"{count:>15}" for count in counts))

    print(f"{'group':<28}{'cases':>6}" + "".join(f"{verdict:>15}" for verdict in verdicts))
    for group in sorted({group for group, _ in rows}):
        line(f"{group:>2} {GROUPS.get(group, '')}", [rows[group, verdict] for verdict in verdicts])
    line("total", [sum(n for (_, v), n in rows.items() if v == verdict) for verdict in verdicts])


def number(case):
    return tuple(int(part) for part in case.split("."))


if __name__ == "__main__":
    main()
