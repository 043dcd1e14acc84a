"""The Solidity package: its policies do what they say, it is explained, and somebody else's project can use it."""

import json
import os
import pathlib
import re
import subprocess
import tarfile

import pytest
from network import ROOT

HERE = pathlib.Path(__file__).parent
CONTRACTS = ROOT / "contracts"
MODULES = CONTRACTS / "node_modules"


@pytest.fixture(scope="module")
def forge():
    if not MODULES.is_dir():
        install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=CONTRACTS, check=True, timeout=300)
    # The native binary itself: its wrapper for Node loses the exit status.
    return str(next(MODULES.glob("@foundry-rs/forge-linux-*/bin/forge")))


def ran(*command, cwd=CONTRACTS, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_policies_answer_as_their_pages_say_and_hostile_contracts_get_nothing(forge):
    said = json.loads(ran(forge, "test", "--root", CONTRACTS, "--json"))
    results = {
        f"{suite.split(':')[1]}.{name}": result["status"]
        for suite, tested in said.items()
        for name, result in tested["test_results"].items()
    }
    assert set(results.values()) == {"Success"}, results
    # Each policy, and what is asked of none in particular.
    policies = {path.stem for path in (CONTRACTS / "src" / "policies").glob("*Policy.sol")} - {"Policy"}
    suites = {name.split(".")[0] for name in results}
    assert suites == {f"{policy}Test" for policy in policies} | {
        "InterfaceTest",
        "HostileChecksTest",
        "HostileTargetsTest",
        "HostileDataTest",
    }
    # As many as the files have: none was left out.
    files = (CONTRACTS / "test").glob("*.sol")
    assert len(results) == sum(len(re.findall(r"function test", path.read_text())) for path in files)


def test_everything_that_others_use_is_explained():
    assert "are explained" in ran("node", "contracts/natspec.mjs", CONTRACTS / "src", cwd=HERE)


def test_the_package_holds_its_sources_only_and_builds_in_another_project(forge, tmp_path):
    (packed,) = json.loads(ran("npm", "pack", "--json", "--pack-destination", tmp_path))
    sources = {str(path.relative_to(CONTRACTS)) for path in CONTRACTS.glob("src/**/*.sol")}
    assert {file["path"] for file in packed["files"]} == sources | {"package.json", "README.md", "LICENSE"}
    assert (CONTRACTS / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()

    # As npm unpacks it, and as Foundry and Hardhat look for it.
    project = tmp_path / "project"
    scope = project / "node_modules" / "@coco"
    scope.mkdir(parents=True)
    with tarfile.open(tmp_path / packed["filename"]) as archive:
        archive.extractall(scope, filter="data")
    (scope / "package").rename(scope / "contracts")
    package = json.loads((scope / "contracts" / "package.json").read_text())
    assert package["license"] == "Apache-2.0" and "dependencies" not in package
    resolve = "console.log(require.resolve('@coco/contracts/src/ICocoAccess.sol'))"
    assert ran("node", "-e", resolve, cwd=project).strip() == str(scope / "contracts" / "src" / "ICocoAccess.sol")

    imports = sorted(sources)
    user = "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.24;\n"
    user += "".join(f'import "@coco/contracts/{path}";\n' for path in imports)
    user += "contract Orders is ERC20Policy(address(1)) {}\n"
    (project / "src").mkdir()
    (project / "src" / "Orders.sol").write_text(user)
    (project / "foundry.toml").write_text(
        '[profile.default]\nlibs = ["node_modules"]\nremappings = ["@coco/=node_modules/@coco/"]\n'
        f'solc = "{CONTRACTS / "bin" / "solc"}"\nevm_version = "cancun"\n'
    )
    ran(forge, "build", "--root", project, cwd=project)
    made = json.loads((project / "out" / "Orders.sol" / "Orders.json").read_text())
    assert len(made["bytecode"]["object"]) > 1000
