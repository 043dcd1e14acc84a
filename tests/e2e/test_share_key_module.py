"""A key in a token wraps the actor's share-transport key: the agent and the offline tools have it opened there."""

import base64
import os
import pathlib
import shutil
import subprocess

import isolated
import processes
import pytest
from network import coco

SOFTHSM = pathlib.Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.fixture
def token(tmp_path, monkeypatch):
    """The URI of a P-256 key in a token of its own, which may derive; `tmp_path / "pin"` is its PIN."""
    if not all(map(shutil.which, ("softhsm2-util", "pkcs11-tool"))) or not SOFTHSM.exists():
        pytest.skip("NOT TESTED: keys in a module, because SoftHSM or OpenSC is missing: install softhsm2 and opensc")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    (tmp_path / "pin").write_text("1234\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))

    def ran(*arguments):
        subprocess.run(list(map(str, arguments)), env=os.environ, check=True, capture_output=True)

    ran("softhsm2-util", "--init-token", "--free", "--label", "ada", "--so-pin", "5678", "--pin", "1234")
    ran(
        "pkcs11-tool", "--module", SOFTHSM, "--login", "--pin", "1234", "--token-label", "ada", "--keypairgen",
        "--key-type", "EC:prime256v1", "--usage-derive", "--label", "wrap", "--id", "02",
    )  # fmt: skip
    return f"pkcs11:token=ada;object=wrap?module-path={SOFTHSM}&pin-source={tmp_path / 'pin'}"


@pytest.mark.skipif(os.geteuid() != 0, reason="memory of other users' processes: run as root")
def test_a_node_and_the_offline_tools_open_a_wrapped_share_key(token, tmp_path):
    with isolated.running(namespaces=False) as network:
        node = network.nodes[0]
        plain = pathlib.Path(network.actors[node.owner]["share"])
        secret = plain.read_bytes()
        wrapped = tmp_path / "wrapped.pem"
        made = coco("member", "share-key", "--from", plain, "--wrap-with", token, "--out", wrapped)
        assert made.returncode == 0, made.stderr
        listed = coco("member", "share-key", "--show", plain).stdout
        assert made.stdout == listed == coco("member", "share-key", "--show", wrapped).stdout
        assert wrapped.read_text().startswith("-----BEGIN WRAPPED COCO SHARE KEY-----")
        assert wrapped.stat().st_mode & 0o077 == 0

        # The file is of no use without the token, or with a wrong PIN.
        sealed = sealed_copy(network)
        out = tmp_path / "ada.part"
        partial = ["recover", "partial", *sealed, "--share-key", wrapped, "--out", out]
        refused = coco(*partial)
        assert refused.returncode == 2 and "--unwrap-with" in refused.stderr, refused.stderr
        (tmp_path / "pin").write_text("4321\n")
        refused = coco(*partial, "--unwrap-with", token)
        assert refused.returncode == 2 and "PIN" in refused.stderr, refused.stderr
        (tmp_path / "pin").write_text("1234\n")
        done = coco(*partial, "--unwrap-with", token)
        assert done.returncode == 0 and out.exists(), done.stderr

        # The node's agent has the module open it, and no file beside the node holds the key any more.
        node.kill()
        plain.unlink()
        node.share_key = wrapped, token
        node.start()
        processes.wait_until(f"{node.owner} votes again", node.votes, 60)
        manager = next(p for p in processes.tree(node.process.pid) if processes.image(p) == "coco-manager")
        processes.wait_until(
            "its enclave has the share-transport key",
            lambda: processes.memory_holds(manager, {key_of(secret)})[0],
            60,
        )
        agent = processes.memory_holds(node.process.pid, {key_of(secret)})[0]
        assert not agent, "the agent erased it"
        assert "no share-transport key" not in node.log(), node.log()
        assert secret not in wrapped.read_bytes()
        found, _ = processes.files_holding(network.directory, {key_of(secret)})
        assert not found, found

        # A token that is gone is told with the reason, and the node does not start as if nothing was amiss.
        node.kill()
        (tmp_path / "pin").unlink()
        node.start()
        assert node.process.wait(30) == 2
        assert "PIN" in node.log()


def key_of(pem):
    lines = [line for line in pem.splitlines() if line and not line.startswith(b"-----")]
    return base64.b64decode(b"".join(lines))


def sealed_copy(network):
    """Arguments that name a copy of the ledger in which an epoch is sealed to the actors."""
    node = network.nodes[1]
    processes.wait_until("an epoch is sealed", lambda: node.gauges().get("key_threshold", 0) > 0, 60)
    processes.wait_until("the epoch begins", lambda: node.status()["epoch"] > 1, 60)
    copy = network.directory / "copy"
    shutil.copytree(node.directory / "data" / "ledger", copy / "ledger")
    return ["--ledger", copy, "--constitution", network.constitution]
