"""`coco sandbox`: it starts in seconds, ends without a trace, and says what is wrong when it cannot start."""

import os
import signal
import socket
import subprocess

import network as networks
import processes
import pytest
from network import COCO, KeyValue, coco, free_port


def gone(pids):
    return not any(map(processes.is_alive, pids))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_is_up_in_seconds_and_ends_without_a_trace(how):
    with networks.running() as network:
        # Issue: up in under 10 seconds after the build.
        assert network.took < 10
        whole = network.everything()
        images = {processes.image(pid) for pid in whole}
        for image in ("coco-host", "coco-launcher", "coco-manager", "coco-worker-ethereum", "coco-worker-kv"):
            assert image in images
        assert len(whole) == 1 + 3 * 6
        assert network.stop(how) == 0, network.said()
        assert gone(whole)
        for node in network.nodes:
            assert "panicked" not in node.log()
        # Something else than a sandbox is not continued.
        (network.directory / "sandbox.json").unlink()
        again = coco("sandbox", "--dir", network.directory, "--rpc-port", free_port(2))
        assert again.returncode == 2
        assert "is not empty" in again.stderr and "--dir" in again.stderr


def test_nothing_outlives_a_killed_sandbox():
    with networks.running() as network:
        whole = network.everything()
        os.kill(network.process.pid, signal.SIGKILL)
        network.process.wait()
        processes.wait_until("all processes ended", lambda: gone(whole), 30)


def test_a_port_in_use_is_named_and_nothing_is_left(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        directory = tmp_path / "sandbox"
        done = coco("sandbox", "--dir", directory, "--rpc-port", port)
        assert done.returncode == 4
        assert f"port {port}" in done.stderr and "--rpc-port" in done.stderr
        assert not directory.exists()


def test_images_that_are_not_there_are_named(tmp_path):
    done = coco("sandbox", "--images", tmp_path, "--rpc-port", free_port(2))
    assert done.returncode in (2, 4)
    assert "coco-host" in done.stderr and "cargo build --release" in done.stderr


def test_settings_that_cannot_be_used_are_told_at_once(tmp_path):
    genesis = tmp_path / "genesis.json"
    genesis.write_text('{"roots": "nonsense"}')
    done = coco("sandbox", "--nodes", "1", "--rpc-port", free_port(2), "--genesis", genesis, timeout=40)
    # Before the sandbox's patience of a minute ends.
    assert done.returncode == 2 and "unknown variant `nonsense`, expected `keyed` or `plain`" in done.stderr
    genesis.write_text('{"profile": "transparent"}')
    done = coco("sandbox", "--rpc-port", free_port(2), "--genesis", genesis)
    assert done.returncode == 2 and "--profile" in done.stderr


def test_people_see_where_everything_is():
    port = free_port(2)
    process = subprocess.Popen(
        [COCO, "sandbox", "--rpc-port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = ""
    try:
        for line in process.stdout:
            text += line
            if "Ctrl-C stops everything" in line:
                break
        for part in (
            f"http://127.0.0.1:{port}",
            f"ws://127.0.0.1:{port}",
            "chain id 31337",
            "contoso",
            "fabrikam",
            "northwind",
            "network.pem",
            "constitution.cbor",
            "test test test test test test test test test test test junk",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".lower(),
        ):
            assert part.lower() in text.lower(), f"{part} is not in:\n{text}"
        client = KeyValue(f"127.0.0.1:{port + 1}")
        assert client.put("a", "1", "a")[0] == 200
        temporary = next(word for word in text.split() if "coco-sandbox-" in word)
        directory = temporary[: temporary.index("coco-sandbox-")] + (
            "coco-sandbox-" + temporary.split("coco-sandbox-")[1].split("/")[0]
        )
        assert os.path.isdir(directory)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert not os.path.exists(directory), "the temporary directory is removed"
