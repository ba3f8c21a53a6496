"""What bundles are compared with: real calls, and a clear word where one cannot be had."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from qlot.benchmarks.drivers.host.others import peak, peer_network, single_graph
from qlot.benchmarks.drivers.host.subjects import Setting
from qlot.benchmarks.peers.environment import PeerError
from qlot.benchmarks.studies.naive import single_graph_calls
from qlot.model.checkpoint import save_checkpoint
from tests.export import small


def test_the_peers_network_runs(shared: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    found = peer_network(shared / "peers" / "face_landmarker.task")
    assert found.settings == (Setting("network", 0),)
    assert len(found.block(found.settings[0], 2)["network"]) == 2
    assert found.spec().kind == "peer" and "litert" in found.spec().engine


def test_what_is_no_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"no\.task: not MediaPipe's"):
        peer_network(tmp_path / "no.task")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as archive:
        archive.writestr("hand.tflite", b"")
    with pytest.raises(PeerError, match=r"other\.task: not MediaPipe's face_landmarker\.task"):
        peer_network(tmp_path / "other.task")


def test_the_peak_is_a_product_of_known_size() -> None:
    found = peak()
    (sample,) = found.block(found.settings[0], 1)["network"]
    assert found.spec().operations == 512**3 and sample > 0


@pytest.mark.slow
def test_the_single_graph_runs_with_its_steps_inside(tmp_path: Path) -> None:
    weights = tmp_path / "small.safetensors"
    save_checkpoint(small.network(), weights)
    found = single_graph(single_graph_calls(str(weights), (1, 2)))
    assert found.settings == (Setting("network", 1), Setting("network", 2))
    assert found.block(found.settings[1], 1)["network"][0] > 0
