"""Patterns of paths: each store agrees with fnmatch."""

import unicodedata
import uuid
from contextlib import ExitStack
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.fuzzing import fuzzed
from tests.fakes.stores import edge_store, server_store
from voxdex.indexer.store.base import Point
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import Condition, FilterError
from voxdex.indexer.store.patterns import PATH_TEXT, forms, grams, matcher, path_text

PATHS = [
    "/archive/Interviews/Anna Müller/take 1.wav",
    "/archive/interviews/ANNA MU\u0308LLER/take 10.WAV",  # decomposed
    "/archive/interviews.old/anna/take 1.wav.mp3",
    "/archive/x/99_a.wav",
    "/archive/x/199_a.wav",
    "/archive/xx/99_a.wav",
    "/x/99.wav",
    "/a",
    "a",
    "ab",
    "/ab/bc/abc",
    "/aba/ababa.aba",
    "//server/share//a.wav",
    r"C:\Tapes\Side A\one.wav",
    "https://example.org/Tapes/one.mp3?part=2&x=[1]",
    "s3://bucket/\"quoted\" 'name'/it’s, (1) and not.ogg",
    "/tmp/new\nline\tand\u2028more\u3000space\u0085.wav",
    "/tmp/İstanbul/STRASSE ß/ΑΣ/ﬁ.flac",
    "/tmp/語音/錄音 01.wav",
    "/tmp/🎙/😀😀.opus",
    "/tmp/a*b?c[d]!e.wav",
    "/tmp/[x].wav",
    "/tmp/x78x xx x2fx.wav",
    "/deep" + "/folder" * 500 + "/End.wav",
]
LETTERS = "aAbxX9./*?[]!-\\ _üİß音\n"


def is_like(value, pattern):
    """Reference implementation of patterns."""
    value, pattern = (unicodedata.normalize("NFC", text).lower() for text in (value, pattern))
    if not set("*?[") & set(pattern):
        return pattern in value
    return fnmatchcase(value, pattern) or fnmatchcase(value, f"*/{pattern}")


@st.composite
def patterns(draw):
    """Parts of paths, or any text, with wildcards between them."""
    piece = st.one_of(
        st.sampled_from(PATHS).flatmap(
            lambda path: st.tuples(st.integers(0, min(len(path), 60)), st.integers(0, 9)).map(
                lambda at: path[at[0] : at[0] + at[1]] if at[1] < 9 else path[-at[0] :]
            )
        ),
        st.text(LETTERS, max_size=4),
        st.text(max_size=3),
    )
    pieces = draw(st.lists(piece, min_size=1, max_size=4))
    wild = st.sampled_from(["*", "*", "**", "?", "[a-m]", "[!a]", "[", "[]", "/*", "*/", ""])
    return "".join(piece + draw(wild) for piece in pieces[:-1]) + pieces[-1]


def stored(store, paths):
    store.ensure_fields({"recording": "text"})
    store.upsert(
        [
            Point(
                str(uuid.uuid4()),
                np.eye(4, dtype=np.float32)[number % 4],
                {"kind": "clip", "content": str(number), "recording": path, "metadata": {"speaker": path}},
            )
            for number, path in enumerate(paths)
        ]
    )
    return store


def found(store, *patterns):
    hits = store.query(np.ones(4, np.float32), 1000, Condition("path", "~", patterns))
    return sorted(hit.payload["recording"] for hit in hits)


@pytest.fixture(scope="module", params=["few", "optimised", "server"])
def archive(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patterns")
    with ExitStack() as opened, pytest.MonkeyPatch.context() as patched:
        if request.param == "optimised":
            patched.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 2)
        store = opened.enter_context((server_store if request.param == "server" else edge_store)(folder))
        stored(store, PATHS)
        if request.param == "optimised":
            store.optimise()
        patched.undo()
        yield store


@pytest.mark.filterwarnings("ignore:Local mode")
@fuzzed(40)
@given(asked=st.lists(patterns(), min_size=1, max_size=2))
def test_matches_agree_with_fnmatch(archive, asked):
    assert found(archive, *asked) == sorted(path for path in PATHS if any(is_like(path, each) for each in asked))


@fuzzed(1000)
@given(pattern=patterns(), path=st.one_of(st.sampled_from(PATHS), st.text(LETTERS.replace("*", "z"), min_size=1, max_size=9)))
def test_forms_agree_with_fnmatch(pattern, path):
    text, expected = path_text(path), is_like(path, pattern)
    held = [form for form in forms(pattern) if all(each in text for each in form.texts)]
    assert matcher(pattern)(path) == expected
    assert bool(held) if expected else not any(form.is_enough for form in held)
    words = f" {grams(text)} "
    for each in (each for form in forms(pattern) for each in form.texts if len(each) >= 3):
        assert (f" {grams(each)} " in words) == (each in text)


@pytest.mark.parametrize(
    "pattern", ["anna", "interviews/*", "*.wav", "x/99*.wav", "/archive/*", "*/tapes/*.wav", "*one*", "*", "a[b", "x/9*_a.wav"]
)
def test_common_patterns_list_no_paths(tmp_path, monkeypatch, pattern):
    monkeypatch.setattr(EdgeStore, "_count", lambda *_: pytest.fail("paths were listed"))
    with edge_store(tmp_path) as store:
        assert found(stored(store, PATHS), pattern) == sorted(path for path in PATHS if is_like(path, pattern))


@pytest.mark.parametrize("pattern", ["take ??.wav", "*anna*take*", "x/[0-9]*"])
def test_other_patterns_list_few(tmp_path, monkeypatch, pattern):
    listed, count = [], EdgeStore._count
    monkeypatch.setattr(EdgeStore, "_count", lambda *asked: listed.append(count(*asked)) or listed[-1])
    with edge_store(tmp_path) as store:
        stored(store, PATHS)
        assert found(store, pattern) == sorted(path for path in PATHS if is_like(path, pattern))
    assert 0 < len(listed[0]) < 6


@pytest.mark.filterwarnings("ignore:Local mode")
def test_path_text_is_not_shown(archive):
    [hit, *_] = archive.query(np.ones(4, np.float32), 1)
    [point] = archive.retrieve([hit.id])
    seen = [hit, point, *archive.points({"kind": "clip"})]
    assert not any(PATH_TEXT in each.payload for each in seen) and PATH_TEXT not in archive.schema()
    with pytest.raises(FilterError, match="no field 'path_text'"):
        archive.query(np.ones(4, np.float32), 1, parse_filter("path_text=x"))


@pytest.mark.parametrize("make", [edge_store, server_store])
@pytest.mark.filterwarnings("ignore:Local mode", "ignore:Payload indexes")
def test_moved_files(tmp_path, make):
    with make(tmp_path) as store:
        stored(store, PATHS[:3])
        store.set_payload({"content": "1"}, {"recording": "/moved/Elsewhere.wav"})
        assert found(store, "moved/*") == found(store, "elsewhere") == ["/moved/Elsewhere.wav"]
        assert found(store, "take 10") == []


def found_in(paths, pattern):
    return sorted(path for path in paths if is_like(path, pattern))
