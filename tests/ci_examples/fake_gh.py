"""A `gh` that keeps comments and issues in a JSON file: the calls that the workflows make, and no other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_GH_STATE"])


def main(arguments: list[str]) -> int:
    state = json.loads(STATE.read_text()) if STATE.exists() else {"comments": [], "issues": [], "calls": []}
    state["calls"].append(arguments)
    try:
        return {"api": api, "issue": issue}[arguments[0]](state, arguments[1:])
    finally:
        STATE.write_text(json.dumps(state))


def api(state: dict, arguments: list[str]) -> int:
    if os.environ.get("FAKE_GH_FORBIDDEN"):
        sys.stderr.write("gh: Resource not accessible by integration (HTTP 403)\n")
        return 1
    if arguments[0] == "-H":
        assert arguments[1] == "Accept: application/vnd.github.raw+json", arguments
        assert arguments[2] == f"repos/acme/app/contents/plan/plan.json?ref={'0' * 40}", arguments
        if "base" not in state:
            sys.stdout.write('{"message": "Not Found"}')
            return 1
        sys.stdout.write(state["base"])
        return 0
    comments = "repos/acme/app/issues/7/comments"
    if arguments[0] == "--paginate":
        assert arguments[1] == f"{comments}?per_page=100", arguments
        for start in range(0, max(1, len(state["comments"])), 2):  # two a page, a list a page
            sys.stdout.write(json.dumps(state["comments"][start : start + 2]))
        return 0
    assert arguments[:2] == ["--silent", "--method"], arguments
    method, url, flag, field = arguments[2:]
    assert flag == "-F"
    assert field.startswith("body=@")
    body = Path(field.removeprefix("body=@")).read_text(encoding="utf-8")
    if method == "POST":
        assert url == comments
        number = 100 + len(state["comments"])
        state["comments"].append({"id": number, "user": {"login": "github-actions[bot]"}, "body": body})
    else:
        assert method == "PATCH"
        (found,) = [entry for entry in state["comments"] if url == f"repos/acme/app/issues/comments/{entry['id']}"]
        found["body"] = body
    return 0


def issue(state: dict, arguments: list[str]) -> int:
    verb, rest = arguments[0], arguments[1:]
    if verb == "list":
        found = [entry["number"] for entry in state["issues"] if entry["open"]]
        sys.stdout.write(f"{found[0]}\n" if found else "")
    elif verb == "create":
        body = Path(rest[rest.index("--body-file") + 1]).read_text(encoding="utf-8")
        state["issues"].append({"number": len(state["issues"]) + 1, "open": True, "body": body})
    else:
        (found,) = [entry for entry in state["issues"] if str(entry["number"]) == rest[0]]
        if verb == "close":
            found["open"] = False
        else:
            found["body"] = Path(rest[rest.index("--body-file") + 1]).read_text(encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
