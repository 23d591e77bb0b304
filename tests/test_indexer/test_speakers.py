"""Who speaks: found, named, merged, split, searched for, kept up to date and removed."""

import shutil

import numpy as np
import pytest

from tests.fakes.sounds import RATE, write_sound
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.model_card import SpeakerThresholds
from voxdex.encoders.speaker import open_speaker_model
from voxdex.indexer.index import index
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.report import SpeakerReport
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.speakers import SpeakerSpace, cluster_voices, list_speakers, update_speakers
from voxdex.indexer.turns import find_turns
from voxdex.search.engine import search_index
from voxdex.search.query import Query, Sound


@pytest.fixture
def voices(voxdex, spoken_archive, tmp_path):
    """Four sentences by a woman and a man (espeak-ng), indexed with their speakers."""
    folder = tmp_path / "voices"
    folder.mkdir()
    for name in ("en-us-f2", "en-m1"):
        for number in range(4):
            shutil.copy(spoken_archive / f"{name}-{number}.wav", folder / f"{name}-{number}.wav")
    done = voxdex("index", folder, "--speakers", "--json")
    assert done.status == 0 and done.json["speakers"] == {"clips": 8, "speakers": 2, "new": 2}, done.err
    return folder


def speakers(voxdex, *arguments):
    return voxdex("speakers", "list", "--json", *arguments).json["speakers"]


def speaker_of(voxdex, *arguments):
    """The speaker of each file, by its name."""
    hits = voxdex("search", "a voice", "-n", 50, "--fold", 1, "--json", *arguments).json["hits"]
    return {hit["recording"].rsplit("/", 1)[1]: hit["attributes"].get("speaker") for hit in hits}


def test_speakers_are_found_and_named(voxdex, voices):
    found = speaker_of(voxdex)
    assert len({found[f"en-us-f2-{n}.wav"] for n in range(4)}) == len({found[f"en-m1-{n}.wav"] for n in range(4)}) == 1
    assert set(found.values()) == {"speaker 1", "speaker 2"}
    assert [(each["clips"], each["recordings"], each["name"]) for each in speakers(voxdex)] == [(4, 4, ""), (4, 4, "")]
    number = found["en-us-f2-0.wav"].removeprefix("speaker ")
    named = voxdex("speakers", "name", number, " Anna  Lee ")
    assert named.status == 0 and f"Speaker {number} is Anna Lee" in named.err
    assert {file for file, name in speaker_of(voxdex).items() if name == "Anna Lee"} == {f"en-us-f2-{n}.wav" for n in range(4)}
    hits = voxdex("search", "a voice", "--where", 'speaker="Anna Lee"', "--group-by", "speaker", "--json").json["hits"]
    assert len(hits) == 1
    assert "2; `speakers list`" in voxdex("status").out and voxdex("status", "--json").json["speakers"] == 2
    assert "Anna Lee" in voxdex("speakers", "list").out
    [row] = [row for row in voxdex("report", "--json").json["recordings"] if row["path"].endswith("en-us-f2-0.wav")]
    assert row["speakers"] == 1 and row["spoken by"].startswith("Anna Lee 0.")


def test_names_are_learned_for_later_runs(voxdex, voices, spoken_archive):
    woman = speaker_of(voxdex)["en-us-f2-0.wav"]
    voxdex("speakers", "name", woman, "Anna")
    for number in range(2):
        (voices / f"en-us-f2-{number}.wav").unlink()
    assert voxdex("index", voices, "--prune", "--json").json["speakers"] == {"clips": 0, "speakers": 2, "new": 0}
    shutil.copy(spoken_archive / "en-us-f2-0.wav", voices / "again.wav")
    later = voxdex("index", voices, "--json").json
    assert later["speakers"] == {"clips": 1, "speakers": 2, "new": 0}
    assert speaker_of(voxdex)["again.wav"] == "Anna"
    unchanged = voxdex("index", voices, "--json").json
    assert unchanged["speakers"]["clips"] == 0 and unchanged["unchanged"] == 7


def test_search_by_a_persons_voice(voxdex, voices, spoken_archive):
    first = voxdex("search", "--voice", spoken_archive / "en-us-f2-1.wav", "--json").json
    assert [hit["recording"].rsplit("/", 1)[1][:5] for hit in first["hits"][:4]] == ["en-us"] * 4
    assert first["hits"][0]["same_voice"] == first["hits"][0]["score"] > 0.98
    assert first["hits"][0]["percentile"] is None
    assert "From hit 5 on, it is probably someone else who speaks." in first["notes"]
    described = voxdex("search", "a high-pitched voice", "--voice", "@1", "--json").json["hits"]
    assert len(described) == 4 and all("en-us" in hit["recording"] for hit in described)
    assert all(hit["cosine"] is not None and hit["same_voice"] > 0.5 for hit in described)
    low = voxdex("search", "--voice", "@1", "--where", "path~en-m1", "--json")
    assert {hit["recording"].rsplit("/", 1)[1][:4] for hit in low.json["hits"]} == {"en-m"}
    assert "From hit 1 on" in low.json["notes"][-1]
    silent = voxdex("search", "--voice", spoken_archive / "said.csv")
    assert silent.status == 2 and "cannot be searched by" in silent.err


def test_merge_and_split(voxdex, voices):
    merged = voxdex("speakers", "merge", "1", "speaker 2")
    assert merged.status == 0 and "8 clips of 8 recordings" in merged.err
    assert set(speaker_of(voxdex).values()) == {"speaker 1"}
    split = voxdex("speakers", "split", "1")
    assert split.status == 0 and len(speakers(voxdex)) == 2
    found = speaker_of(voxdex)
    assert len({found[f"en-us-f2-{n}.wav"] for n in range(4)}) == len({found[f"en-m1-{n}.wav"] for n in range(4)}) == 1
    assert voxdex("index", voices, "--json").json["speakers"]["new"] == 0  # what was split stays so


def test_what_cannot_be_done_is_said(voxdex, voices):
    for arguments, reason in (
        (("name", "7", "Anna"), "The index has no speaker '7': `voxdex speakers list` names them."),
        (("name", "1", " "), "is no name of a speaker"),
        (("name", "1", "Speaker 9"), "is no name of a speaker"),
        (("merge", "1"), "Give two speakers or more to merge."),
        (("merge", "1", "1"), "Give two speakers or more to merge."),
        (("split", "nobody"), "The index has no speaker 'nobody'"),
    ):
        done = voxdex("speakers", *arguments)
        assert done.status == 2 and reason in done.err


def test_a_name_belongs_to_one_speaker(voxdex, voices):
    voxdex("speakers", "name", "1", "Anna")
    taken = voxdex("speakers", "name", "2", "anna")
    assert (
        taken.status == 2 and "Speaker 1 is Anna already. If they are the same person: voxdex speakers merge 1 2." in taken.err
    )
    assert voxdex("speakers", "name", "Anna", "ANNA").status == 0


def test_speakers_are_removed(voxdex, voices, home):
    voxdex("speakers", "name", "1", "Anna Unmistakable")
    assert voxdex("speakers", "remove").status == 0
    assert set(speaker_of(voxdex).values()) == {None}
    assert not (home / "indexes" / "default" / "speakers").exists()
    again = voxdex("speakers", "list")
    assert again.status == 2 and "The index has no speakers: find out who speaks with voxdex index --speakers." in again.err
    assert voxdex("search", "--voice", voices / "en-m1-0.wav").status == 2
    assert voxdex("index", voices, "--json").json["speakers"] is None
    assert voxdex("speakers", "remove").status == 2


def test_another_model_keeps_speakers_and_names(voxdex, voices):
    voxdex("speakers", "name", "1", "Anna")
    before = speaker_of(voxdex)
    moved = voxdex("reindex", "--model", "mini-open", "--json")
    assert moved.status == 0 and moved.json["speakers"] == {"clips": 0, "speakers": 2, "new": 0}
    assert speaker_of(voxdex) == before


def test_a_copy_on_a_server_has_the_speakers(voxdex, voices, qdrant):
    voxdex("speakers", "name", "1", "Anna")
    where = qdrant.options()
    pushed = voxdex("push", *where)
    assert pushed.status == 0, pushed.err
    assert [each["name"] for each in speakers(voxdex, *where)].count("Anna") == 1
    assert speaker_of(voxdex, *where) == speaker_of(voxdex)
    voxdex("speakers", "name", "2", "Ben", *where)
    assert set(speaker_of(voxdex, *where).values()) == {"Anna", "Ben"}
    kept = voxdex("push", *where)
    assert kept.status == 0 and "has speakers of its own, which stay" in kept.err
    assert voxdex("speakers", "remove", *where).status == 0
    assert set(speaker_of(voxdex, *where).values()) == {None}


def test_people_who_take_turns_within_a_clip(spoken_archive, mini, tmp_path):
    woman, man = (read_audio(spoken_archive / f"{name}-0.wav") for name in ("en-us-f2", "en-m1"))
    quiet = np.zeros(RATE // 2, np.float32)
    parts = [part for n in range(3) for part in (woman[n * RATE : (n + 3) * RATE], quiet, man[: (2 + n) * RATE // 2], quiet)]
    write_sound(tmp_path / "talk.wav", np.concatenate(parts))
    model, location = open_speaker_model(device="cpu"), LocalIndex(tmp_path / "index")
    model.thresholds = SpeakerThresholds(0.6, 0.6, 0.6)  # voices of one synthesiser are more alike than people's
    with location.create(mini.card.space, "mini", mini.card.dimension) as store:
        clips = index(find_recordings([tmp_path / "talk.wav"]), store, mini).clips
        assert clips < 6 and update_speakers(store, location.speakers, model) == SpeakerReport(clips, 2, 2)
        with location.speakers.read() as speakers:
            [longer, shorter] = list_speakers(speakers)
            assert longer.seconds == pytest.approx(9, abs=1) and shorter.seconds == pytest.approx(4.5, abs=1)
            query = Query(voice=[Sound(spoken_archive / "en-m1-1.wav")])
            hits = search_index(query, store, mini, speakers=SpeakerSpace(speakers, model))
        assert hits[0].same_voice > 0.6  # though the woman may speak longer in that clip


def test_turns():
    rng = np.random.default_rng(0)
    speech, pause, breath = (0.1 * rng.standard_normal(RATE * tenths // 10) for tenths in (15, 5, 3))
    quiet = 1e-4 * rng.standard_normal(RATE // 2)
    turns = find_turns(
        np.concatenate([speech, quiet, speech, 0.001 * pause, breath, 0.001 * breath, speech]).astype(np.float32)
    )
    assert [(round(begin / RATE, 1), round(end / RATE, 1)) for begin, end in turns] == [(0, 1.5), (2, 3.5), (4.0, 6.1)]
    assert find_turns(np.zeros(1000, np.float32)) == [(0, 1000)] and find_turns(np.ones(10, np.float32)) == [(0, 10)]


def test_clusters():
    rng = np.random.default_rng(0)
    people = rng.standard_normal((5, 192))
    voices = np.repeat(people, 40, axis=0) + 0.4 * rng.standard_normal((200, 192))
    voices = (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32)
    labels = cluster_voices(voices, threshold=0.5)
    assert len(set(labels.tolist())) == 5 and all(len(set(labels[start : start + 40])) == 1 for start in range(0, 200, 40))
    assert len(set(cluster_voices(voices, count=2).tolist())) == 2
    assert cluster_voices(voices[:1], threshold=0.5).tolist() == [0] and not len(cluster_voices(voices[:0], threshold=0.5))


def test_more_voices_than_are_clustered_at_a_time(monkeypatch):
    monkeypatch.setattr("voxdex.indexer.speakers.MOST_CLUSTERED", 30)
    rng = np.random.default_rng(0)
    voices = np.tile(rng.standard_normal((5, 192)), (20, 1)) + 0.2 * rng.standard_normal((100, 192))
    voices = (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32)
    labels = cluster_voices(voices, threshold=0.5)
    assert all(len(set(labels[person::5].tolist())) == 1 for person in range(5)) and len(set(labels.tolist())) == 5


def test_a_voice_does_not_depend_on_its_neighbours():
    model = open_speaker_model(device="cpu")
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(length)).astype(np.float32) for length in (300, 8_000, 48_000, 160_000)]
    together, alone = list(model.embed_speech(clips)), [next(model.embed_speech([clip])) for clip in clips]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) for vector in together)
