"""`coco ledger` reads what a stopped node left, and names the place of any damage."""

import shutil

import network as networks
import pytest
from network import KeyValue, coco


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Directories of a network that wrote some entries and was stopped."""
    kept = tmp_path_factory.mktemp("ledgers")
    with networks.running() as network:
        client = KeyValue(network.gateways["kv"])
        for number in range(40):
            assert client.put(f"key-{number}", f"value-{number}", f"request-{number}")[0] == 200
        network.quiesce(network.nodes)
        constitution = kept / "constitution.cbor"
        shutil.copy(network.facts["constitution"], constitution)
        assert network.stop() == 0
        for node in network.nodes:
            shutil.copytree(node.ledger, kept / node.owner / "ledger")
        return kept, constitution, [node.owner for node in network.nodes]


def verify(directory, constitution):
    done = coco("ledger", "verify", directory, "--constitution", constitution)
    return done.returncode, done.stdout + done.stderr


def test_every_node_left_a_sound_ledger_and_says_what_was_not_checked(stopped):
    kept, constitution, owners = stopped
    for owner in owners:
        code, text = verify(kept / owner, constitution)
        assert code == 0, text
    shown = coco("ledger", "show", kept / owners[0])
    assert shown.returncode == 0
    assert ", batch 20" in shown.stdout and "signature" in shown.stdout


@pytest.mark.parametrize("place", [0.1, 0.35, 0.6, 0.85])
def test_one_changed_byte_is_found_and_its_place_named(stopped, tmp_path, place):
    kept, constitution, owners = stopped
    copy = tmp_path / "copy"
    shutil.copytree(kept / owners[1], copy)
    chunk = sorted((copy / "ledger").iterdir())[0]
    content = bytearray(chunk.read_bytes())
    content[int(len(content) * place)] ^= 1
    chunk.write_bytes(content)
    code, text = verify(copy, constitution)
    assert code == 5, text
    assert chunk.name in text or "entry" in text, text


def test_a_tail_that_a_crash_cut_is_told_from_damage_and_not_cut(stopped, tmp_path):
    kept, constitution, owners = stopped
    copy = tmp_path / "copy"
    shutil.copytree(kept / owners[2], copy)
    chunk = sorted((copy / "ledger").iterdir())[-1]
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-7])
    code, text = verify(copy, constitution)
    assert code == 6, text
    assert chunk.read_bytes() == content[:-7]


def test_the_ledger_of_another_network_is_not_believed(stopped, tmp_path):
    kept, _, owners = stopped
    with networks.running("--nodes", "1") as other:
        code, text = verify(kept / owners[0], other.facts["constitution"])
    assert code == 5, text
    assert "constitution" in text
