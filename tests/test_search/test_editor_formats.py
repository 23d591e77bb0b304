"""Timecode of recordings, and hits in the formats of editing programs, read back by other libraries."""

import csv
import struct
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest
import soundfile
import srt
import wavinfo
import webvtt

from tests.fakes.media import Track, write_media
from tests.fakes.sounds import RATE, voice, write_sound
from voxdex.encoders.audio.timecode import seconds_of, timecode_at

QUIET = np.zeros(2 * RATE, np.float32)
SPEECH = np.concatenate([QUIET, voice(3.0, 120, 1), QUIET, voice(2.0, 120, 2), QUIET])


@pytest.fixture
def films(voxdex, tmp_path):
    """An index of two films with timecode, 25 frames a second, and a sound file without."""
    folder = tmp_path / "films & takes"
    folder.mkdir()
    write_media(folder / "reel 1.mov", [Track(SPEECH[None])], "aac", picture="mpeg4", timecode="10:00:00:00")
    write_media(
        folder / "reel2.mxf", [Track(SPEECH[None, : 6 * RATE])], "pcm_s16le", picture="mpeg2video", timecode="01:02:03:04"
    )
    write_sound(folder / "plain.wav", SPEECH[: 6 * RATE])
    done = voxdex("index", folder, "--json")
    assert done.status == 0 and done.json["clips"] == 4, done.err
    return folder


def hits_of(voxdex, *more):
    found = voxdex("search", "a man", "--fold", 1, "--json", *more)
    assert found.status == 0, found.err
    return found.json["hits"]


def test_hits_have_the_timecode_of_their_recording(voxdex, films):
    starts = {(hit["recording"].rsplit("/", 1)[1], round(hit["start"])): hit["timecode"] for hit in hits_of(voxdex)}
    assert starts["plain.wav", 2] is None
    for (name, start), timecode in starts.items():
        if name != "plain.wav":
            first = 36_000 if name == "reel 1.mov" else 3723 + 4 / 25
            assert seconds_of(timecode, "25") - first == pytest.approx(start, abs=0.2)
    assert "timecode" in voxdex("search", "a man").out.splitlines()[0]


@pytest.mark.parametrize(
    ("start", "rate", "seconds", "expected"),
    [
        ("10:00:00:00", "25", 3.5, "10:00:03:13"),
        ("10:00:00;00", "29.97", 600, "10:10:00;00"),
        ("00:00:59;29", "29.97", 1 / 29.97, "00:01:00;02"),
        ("00:00:59:23", "23.976", 1001 / 24000, "00:01:00:00"),
        ("10:20:30.250", "ms", 1.5, "10:20:31.750"),
        ("10:00:00:00", "25", -1.0, "09:59:59:00"),
    ],
)
def test_timecode_at(start, rate, seconds, expected):
    assert timecode_at(seconds, start, rate) == expected


def test_drop_frame_timecode_and_broadcast_waves(voxdex, tmp_path):
    rate = Fraction(30000, 1001)
    sound = [Track(SPEECH[None, : 6 * RATE])]
    write_media(tmp_path / "ntsc.mov", sound, "aac", picture="mpeg4", timecode="00:59:59;00", pictures=rate)
    plain = write_sound(tmp_path / "plain.wav", SPEECH[: 6 * RATE]).read_bytes()
    bext = bytes(320 + 18) + struct.pack("<QH", 16000 * 37230, 1) + bytes(254)
    chunk = b"bext" + struct.pack("<I", len(bext)) + bext
    (tmp_path / "bwf.wav").write_bytes(b"RIFF" + struct.pack("<I", len(plain) - 8 + len(chunk)) + b"WAVE" + chunk + plain[12:])
    (tmp_path / "plain.wav").unlink()
    assert voxdex("index", tmp_path).status == 0
    hits = {hit["recording"].rsplit("/", 1)[1]: hit for hit in hits_of(voxdex)}
    assert hits["ntsc.mov"]["timecode"][:9] == "01:00:00;" and hits["ntsc.mov"]["timecode_rate"] == "29.97"
    assert hits["bwf.wav"]["timecode_rate"] == "ms"
    assert seconds_of(hits["bwf.wav"]["timecode"], "ms") == pytest.approx(37230 + hits["bwf.wav"]["start"], abs=0.002)


READERS = {".otio": "otio_json", ".xml": "fcp_xml", ".fcpxml": "fcpx_xml", ".edl": "cmx_3600"}


@pytest.mark.parametrize(("suffix", "adapter"), READERS.items())
def test_timelines_are_read_back(voxdex, films, tmp_path, suffix, adapter):
    out = tmp_path / f"hits{suffix}"
    hits = hits_of(voxdex, "--save", out, "--handles", "0.5")
    read = otio.adapters.read_from_file(str(out), adapter, **({"rate": 25} if suffix == ".edl" else {}))
    timeline = read if isinstance(read, otio.schema.Timeline) else read[0]
    clips = list(timeline.find_clips())
    assert len(clips) == len(hits) == 4
    for clip, hit in zip(clips, hits, strict=True):
        first = seconds_of(hit["timecode"], hit["timecode_rate"]) if hit["timecode"] else hit["start"]
        span = clip.trimmed_range()
        assert span.start_time.to_seconds() == pytest.approx(first - 0.5, abs=0.06)
        assert span.duration.to_seconds() == pytest.approx(hit["end"] - hit["start"] + 1, abs=0.06)
        if suffix != ".edl":
            assert clip.media_reference.target_url.rsplit("/", 1)[1] == hit["recording"].rsplit("/", 1)[1].replace(" ", "%20")


def test_labels_of_recordings(voxdex, films, tmp_path):
    hits = {form: hits_of(voxdex, "--labels-to", tmp_path / form, "--labels-as", form) for form in FORMS}["srt"]
    first = min((hit for hit in hits if "reel 1" in hit["recording"]), key=lambda hit: hit["start"])

    lines = (tmp_path / "audacity" / "reel 1.txt").read_text().splitlines()
    assert len(lines) == 2 and float(lines[0].split("\t")[0]) == pytest.approx(first["start"], abs=1e-3)
    subtitles = list(srt.parse((tmp_path / "srt" / "reel 1.srt").read_text()))
    assert subtitles[0].start.total_seconds() == pytest.approx(first["start"], abs=2e-3) and "male" in subtitles[0].content
    [cue, _] = webvtt.read(str(tmp_path / "vtt" / "reel 1.vtt"))
    assert cue.start_in_seconds == pytest.approx(first["start"], abs=1) and "male" in cue.text
    [region, _] = csv.DictReader((tmp_path / "reaper" / "reel 1.csv").open())
    assert region["#"] == "R1" and region["Start"] == f"0:00:{first['start']:06.3f}"
    [marker, _] = csv.DictReader((tmp_path / "premiere" / "reel 1.csv").open(), delimiter="\t")
    assert marker["In"] == first["timecode"]
    markers = otio.adapters.read_from_file(str(tmp_path / "resolve" / "reel 1.edl"), "cmx_3600")
    spans = [clip.trimmed_range().start_time.to_timecode() for clip in markers.find_clips()]
    assert spans[0] == first["timecode"]
    xmp = ElementTree.parse(tmp_path / "xmp" / "reel 1.xmp")
    times = [int(each.text) for each in xmp.iter("{http://ns.adobe.com/xmp/1.0/DynamicMedia/}startTime")]
    assert times[0] == round(1000 * first["start"]) and len(times) == 2
    assert "#1" in (tmp_path / "pro-tools" / "reel 1.txt").read_text()


FORMS = ("audacity", "srt", "vtt", "reaper", "premiere", "resolve", "xmp", "pro-tools")


def test_cue_points_in_copies_of_wave_files(voxdex, films, tmp_path):
    done = voxdex("search", "a man", "-n", 20, "--fold", 1, "--json", "--labels-to", tmp_path / "cues", "--labels-as", "bwf")
    waves = {Path(hit["recording"]).name for hit in done.json["hits"] if hit["recording"].endswith(".wav")}
    assert {file.name for file in (tmp_path / "cues").iterdir()} == waves
    assert done.status == 1 and "is no wave file, and cue points are written into copies of these only" in done.err
    for name in waves:
        hits = [hit for hit in done.json["hits"] if Path(hit["recording"]).name == name]
        read = wavinfo.WavInfoReader(str(tmp_path / "cues" / name))
        for cue, hit in zip(read.cues.cues, hits, strict=True):
            assert cue.position == round(hit["start"] * read.fmt.sample_rate)
            assert "male" in read.cues.label_and_note(cue.name)[0]
            assert read.cues.range(cue.name) == round((hit["end"] - hit["start"]) * read.fmt.sample_rate)
        original, copy = (soundfile.read(str(folder / name))[0] for folder in (films, tmp_path / "cues"))
        assert np.array_equal(original, copy)
        again = voxdex("index", tmp_path / "cues" / name, "--index", "again", "--json").json
        assert again["indexed"] == 1 and not again["damaged"]


def test_handles_make_copies_longer(voxdex, films, tmp_path):
    def seconds(folder, *more):
        hits_of(voxdex, "--where", "path~plain", "--copy-to", folder, *more)
        return soundfile.info(str(next(folder.iterdir()))).duration

    assert seconds(tmp_path / "long", "--handles", "0.5") == pytest.approx(seconds(tmp_path / "short") + 1, abs=0.01)
    assert seconds(tmp_path / "whole", "--handles", "60") == pytest.approx(6, abs=0.01)


def test_missing_packages_are_told_before_the_search(here, monkeypatch):
    monkeypatch.setattr("voxdex.search.editor_formats.find_spec", lambda _: None)
    refused = here("search", "a man", "--save", "x.edl")
    assert refused.status == 2 and not refused.out and "[editors]" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--handles", "1"), "--handles does nothing without --save, --labels-to, --copy-to or --play"),
        (("--labels-as", "srt"), "--labels-as does nothing without --labels-to"),
        (("--frame-rate", "24", "--save", "x.csv"), "--frame-rate does nothing without --save and a timeline"),
        (("--save", "x.aaf"), "must end with"),
    ],
)
def test_options_of_exports(here, arguments, words):
    refused = here("search", "a man", *arguments)
    assert refused.status == 2 and words in " ".join(refused.err.split())
