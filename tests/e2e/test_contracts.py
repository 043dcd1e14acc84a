"""The Solidity package: it compiles, and its policies do what they say, on OpenZeppelin's own contracts."""

import pathlib
import subprocess

from network import ROOT

CONTRACTS = ROOT / "contracts"
MODULES = CONTRACTS / "node_modules"


def test_policies_answer_as_their_pages_say():
    if not MODULES.is_dir():
        install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=CONTRACTS, check=True, timeout=300)
    # The native binary itself: its wrapper for Node loses the exit status.
    forge = next(MODULES.glob("@foundry-rs/forge-linux-*/bin/forge"))
    command = [forge, "test", "--root", CONTRACTS]
    done = subprocess.run(list(map(str, command)), cwd=CONTRACTS, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 tests passed, 0 failed" in done.stdout, done.stdout


def test_the_package_holds_its_sources_only():
    packed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json"], cwd=CONTRACTS, capture_output=True, text=True, check=True, timeout=60
    )
    for file in pathlib.Path(CONTRACTS / "src").rglob("*.sol"):
        assert str(file.relative_to(CONTRACTS)) in packed.stdout, file
