"""Batches of similar length, and devices by name."""

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from voxdex.encoders.model_card import ModelError
from voxdex.encoders.onnx_session import DeviceSpec, OnnxSession, length_batches, map_by_length, pad_clips, parse_device


def test_length_batches():
    lengths = np.random.default_rng(0).integers(1, 100, 200).tolist()
    for most, size in ((None, None), (7, None), (None, 150), (3, 150)):
        batches = length_batches(lengths, most, size)
        assert sorted(item for batch in batches for item in batch) == list(range(200))
        assert all(len(batch) <= (most or 200) for batch in batches)
        assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= (size or 1e9) for batch in batches)
    padding = [1 - sum(lengths[i] for i in batch) / (max(lengths[i] for i in batch) * len(batch)) for batch in batches]
    assert np.mean(padding) < 0.1
    assert length_batches([]) == []


def test_map_by_length_keeps_the_order():
    items = [[i] * (1 + i % 5) for i in range(50)]
    with ThreadPoolExecutor(4) as pool:
        first = map_by_length(items, lambda batch: [item[0] for item in batch], max_items=3, map_batches=pool.map)
        assert list(first) == list(range(50))
    assert pad_clips([np.ones(2), np.ones(4)])["waveform"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("auto", DeviceSpec("auto")),
        ("cpu:3", DeviceSpec("cpu", threads=3)),
        ("cuda:0,2", DeviceSpec("cuda", gpus=(0, 2))),
        ("cuda:1", DeviceSpec("cuda", gpus=(1,))),
    ],
)
def test_parse_device(name, device):
    assert parse_device(name) == device


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:", "cuda:a", "cuda:0,", "CUDA"])
def test_unknown_devices_are_refused(name, here):
    with pytest.raises(ModelError, match="cuda:0,1"):
        parse_device(name)
    refused = here("embed", "a.wav", "--out", "a.npz", "--device", name)
    assert refused.status == 2 and f"no device '{name}'" in refused.err


def test_conflicting_builds_of_the_runtime(mini, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "1.0")
    with pytest.raises(ModelError, match="overwrite each other"):
        OnnxSession(mini.folder / "speech.onnx", DeviceSpec("cuda"))


def test_gpu_memory(mini, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setenv("VOXDEX_GPU_MEMORY", "much")
    with pytest.raises(ModelError, match=r"VOXDEX_GPU_MEMORY is a number of GiB, not 'much'"):
        OnnxSession(mini.folder / "speech.onnx", DeviceSpec("auto"))
