"""`coco ledger backup` to an S3-compatible server, while the nodes run, and back."""

import os

import boto3
import network as networks
import pytest
from moto.server import ThreadedMotoServer
from network import KeyValue, coco

BUCKET = "ledgers"


@pytest.fixture(scope="module")
def s3():
    """A server on this machine, and the environment that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    environment = {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=BUCKET)
    yield client, {**os.environ, **environment}
    server.stop()


def backup_and_restore(ledger, constitution, place, environment, tmp_path):
    done = coco("ledger", "backup", ledger, "--to", place, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    restored = tmp_path / place.rsplit("/", 1)[1]
    back = coco("ledger", "restore", "--from", place, restored, env=environment)
    assert back.returncode == 0, back.stderr
    told = coco("ledger", "verify", restored, "--constitution", constitution)
    assert told.returncode == 0, told.stdout + told.stderr
    return restored


def test_a_running_node_is_backed_up_and_a_changed_object_is_not_restored(s3, tmp_path):
    client, environment = s3
    place = f"s3://{BUCKET}/contoso"
    with networks.running() as network:
        values = KeyValue(network.gateways["kv"])
        node = network.nodes[0]
        constitution = network.facts["constitution"]
        for round_ in range(3):
            for number in range(20):
                name = f"{round_}-{number}"
                assert values.put(f"key-{name}", "value", f"request-{name}")[0] == 200
            backup_and_restore(
                node.ledger, constitution, place, environment, tmp_path / str(round_)
            )
        # Another node goes on with the same backup: its files are the same.
        network.quiesce(network.nodes)
        other = network.nodes[1].ledger
        restored = backup_and_restore(other, constitution, place, environment, tmp_path)
        for file in restored.iterdir():
            assert (other / file.name).read_bytes().startswith(file.read_bytes())

    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="contoso/ledger/")["Contents"]
    key = listed[0]["Key"]
    content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[200] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    back = coco("ledger", "restore", "--from", place, tmp_path / "changed", env=environment)
    assert back.returncode == 5, back.stderr
    assert "not what was saved" in back.stderr
    assert not (tmp_path / "changed").exists()
