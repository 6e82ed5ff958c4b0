"""Run by test_contracts.py in a process of its own, with a copy of the package on the path: plant an import, see which contracts break.

Input on stdin: {"config": path of pyproject.toml, "plants": [[module, line], ...]}; output: a list of lists of broken contracts' ids.
"""

import json
import sys
from pathlib import Path

import importlinter.api  # configures the linter
from importlinter.application import use_cases


def broken(config: str) -> list[str]:
    options = use_cases.read_user_options(config)
    use_cases._register_contract_types(options)
    ids = {contract["name"]: contract["id"] for contract in importlinter.api.read_configuration(config)["contracts_options"]}
    report = use_cases.create_report(options, cache_dir=None)
    if report.invalid_contract_options:
        raise SystemExit(f"the contracts themselves are wrong: {report.invalid_contract_options}")
    return [ids[contract.name] for contract, check in report.get_contracts_and_checks() if not check.kept]


def main() -> None:
    ask = json.load(sys.stdin)
    package = Path(ask["package"])
    answers = []
    for module, line in ask["plants"]:
        path = package.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        before = path.read_text() if path.exists() else None
        path.write_text((before or '"""Planted."""\n') + "\n" + line + "\n")
        answers.append(broken(ask["config"]))
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    sys.__stdout__.write("\n" + json.dumps(answers))


main()
