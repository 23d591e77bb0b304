"""Training clips: truth of manifest rows, speed, relabelling and the split by speaker."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.clips import labelled
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.data.augment import draw_conditions
from voxdex.encoders.training.data.caption_templates import Claim
from voxdex.encoders.training.data.dataset import CLAIMS, Clips, split, truth_of


def test_truth_of_a_manifest_row():
    truth = dict(
        zip(
            [claim[:2] for claim in CLAIMS],
            truth_of({"gender": "male", "emotion": "neutral|calm", "style": "soft|kind", "style_not": "wild"}),
            strict=False,
        )
    )
    assert (truth["gender", "male"], truth["gender", "female"]) == (1, -1)
    assert (truth["emotion", "neutral"], truth["emotion", "sad"]) == (0, -1)
    assert (truth["style", "soft"], truth["style", "wild"], truth["style", "cool"]) == (1, -1, 0)
    assert truth["pitch", "low"] == 0


def test_crops_at_another_speed():
    tone = (20_000 * np.sin(2 * np.pi * 400 * np.arange(32_000) / 16_000)).astype(np.int16)
    clips = Clips((tone,), np.array([0]), np.array([32_000]), np.array([0]), np.zeros((1, len(CLAIMS))), [()], [{}])
    waveform, lengths = clips.crops([0, 0, 0], 5.0, [0.0] * 3, [1.0, 1.25, 0.8])
    assert lengths.tolist() == [32_000, 25_600, 40_000] and waveform.shape == (3, 40_000)
    found = [int(torch.fft.rfft(row[:16_000]).abs().argmax()) for row in waveform]
    assert found == [400, 500, 320]
    waveform, lengths = clips.crops([0], 1.0, [0.5], [1.25])
    assert lengths.tolist() == [16_000]


def test_leave_out_removes_a_corpus_with_its_speakers():
    rows = [
        {"path": f"{i}", "dataset": dataset, "speaker": speaker, "split": "train"}
        for i, (dataset, speaker) in enumerate(
            [("nemo", "a"), ("nemo", "b"), ("ravdess", "c"), ("edit-creaky", "a"), ("edit-creaky", "c"), ("other", "")]
        )
    ]
    assert split(rows, ("nemo",)) == ([2, 4, 5], [0, 1])
    assert split(rows, ("nemo", "rav")) == ([5], [0, 1, 2])
    with pytest.raises(ManifestError, match="leave_out"):
        split(rows, ("crema",))


def test_relabel_by_recording_conditions():
    conditions = draw_conditions(400, torch.Generator().manual_seed(0), chance=0.5)
    cells = conditions.labels()
    assert 150 < sum(map(bool, cells)) < 250
    assert {cell["noise"] for cell in cells if "noise" in cell} == {"", "noisy"} and any(cell.get("channel") for cell in cells)
    clips = labelled([{"noise": "clean", "gender": "male"}] * 400).relabel(cells)
    column = CLAIMS.index(Claim("noise", "clean"))
    for cell, truth in zip(cells, clips.truth, strict=True):
        assert truth[column] == {"noisy": -1, "": 0, None: 1}[cell.get("noise")]
        assert truth[CLAIMS.index(Claim("gender", "male"))] == 1


def test_split_holds_out_whole_speakers():
    rows = [{"path": f"{i}.wav", "speaker": f"s{i % 8}"} for i in range(80)]
    train, valid = split(rows)
    assert sorted(train + valid) == list(range(80)) and len(valid) == 10
    assert {rows[i]["speaker"] for i in train}.isdisjoint(rows[i]["speaker"] for i in valid)
    assert len(split([{"path": f"{i}.wav"} for i in range(50)])[1]) == 5
    assert split([{"path": "a", "split": "train"}, {"path": "b", "split": "test"}]) == ([0], [1])
