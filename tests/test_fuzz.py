"""Random input to filters, queries, commands and the HTTP API: an answer, or one sentence.

VOXDEX_FUZZ=5000 draws 5000 new examples of each kind at every run.
"""

import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.fakes.fuzzing import fuzzed
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.errors import TextError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import copy_file
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError
from voxdex.search.classify import label_set
from voxdex.search.engine import count_facets, search_index
from voxdex.search.formats import search_document
from voxdex.search.query import QueryError, QuerySpec
from voxdex.search.query_parser import parse_query, parse_sound

WORDLESS = ["...", ",", "-", ".", ";", "::", "_", "'", "👩", "?!", "---", "\x00", "\u200b", "\ufeff", "  ", "\n"]
BROKEN = ["a w\udcf6man", "\ud800", "\udfff\ud800"]
BARE = ["", "not", "the", "not .", "not  ...", "no the", "a\x001\x00b", "\x000\x00", "日本", "١", "1e400", "nan"]
ODD = [*WORDLESS, *BROKEN, *BARE]
WORDS = "a an the not no without but woman man sad angry calm whispered voice deep , . ; : -> :: 2 0.5 (".split()
TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.lists(st.sampled_from([*WORDS, *ODD]), max_size=8).map(" ".join),
    st.text(st.characters(), max_size=30),
)
DATES = ["9999-12-31", "0000-01-01", "9999", "2019-02-30", "2019-13", "2019-01-01T25:00:00", "9999-12-31 23:59:59"]
NUMBERS = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["1e400", "nan", "inf", "-inf", "-0", "٣", "1_0", "0x1", *DATES]),
)
WEIGHTED = st.tuples(TEXTS, st.one_of(NUMBERS, TEXTS)).map("::".join)
CAPTIONS = st.one_of(TEXTS, WEIGHTED)
MOVES = st.one_of(TEXTS, st.tuples(TEXTS, CAPTIONS).map(" -> ".join))
SPANS = st.tuples(TEXTS, NUMBERS, NUMBERS).map(lambda parts: "{}:{}-{}".format(*parts))
FIELDS = st.one_of(
    st.sampled_from("gender emotion speaker recorded duration start end age path recording pitch content kind tags".split()),
    TEXTS,
)
RANGES = st.tuples(NUMBERS, NUMBERS).map("..".join)
VALUES = st.one_of(TEXTS, NUMBERS, RANGES, st.sampled_from(["..", "..2019", "*.wav", "[", "a,b"]))
CONDITIONS = st.one_of(
    st.tuples(FIELDS, st.sampled_from("= != < <= > >= ~ : == =~".split()), st.one_of(VALUES, VALUES.map('"{}"'.format))).map(
        "".join
    ),
    st.sampled_from(["whispered", "not calm", "speaker=anna", "recorded:2019..2021", 'path~"*"']),
    TEXTS,
)


def joined(parts):
    """Conditions in parentheses, negated or combined."""
    several = st.lists(parts, min_size=2, max_size=4)
    return st.one_of(
        parts.map("({})".format), parts.map("not {}".format), *(several.map(by.join) for by in (" and ", " or ", ","))
    )


FILTERS = st.recursive(CONDITIONS, joined, max_leaves=8)
SAYS = st.one_of(TEXTS, TEXTS.map("/{}/".format))
REFUSALS = (FilterError, QueryError, TextError)


def is_sentence(text: str) -> bool:
    return text.endswith(".") and "Traceback" not in text and len(text) < 4000 and "\n" not in text.strip()


@pytest.fixture(scope="module")
def store(library, tmp_path_factory):
    """A copy of the index, since the server opens the original."""
    folder = tmp_path_factory.mktemp("copy") / "index"
    shutil.copytree(library / "indexes" / "default", folder, copy_function=copy_file)
    with EdgeStore.open(folder) as store:
        yield store


@pytest.fixture(scope="module")
def server(library, tmp_path_factory):
    from tests.fakes.server import serve_index

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(tmp_path_factory.mktemp("home")))
        with serve_index(library / "indexes" / "default", requests_per_minute=10**9) as server:
            yield server


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("takes") / "take.wav", voice(0.5, 120))


@fuzzed(200)
@given(FILTERS, FIELDS)
@example("not " * 1000 + "calm", "gender")
@example("(" * 5000, "gender")
@example("(" * 60 + "calm" + ")" * 60, "gender")
@example(" and ".join(["gender=male"] * 20_000), "gender")
@example("gender=" + ",".join(map(str, range(20_000))), "gender")
@example("recorded<=9999-12-31", "recorded")
@example("recorded~2019*", "recorded")
@example("duration~1", "duration")
@example("recorded:9999-12-31T23:59:59..", "recorded")
@example("speaker=w\udcf6man", "speaker")
@example("speaker=\x00", "\x00")
@example("duration=1e400", "duration")
def test_filters(store, filter, field):
    try:
        where = parse_filter(filter)
        store.query(np.eye(1, 256, dtype=np.float32)[0], 5, where)
        count_facets([field], [], store, where)
    except REFUSALS as refused:
        assert is_sentence(str(refused))


@fuzzed(100)
@given(
    st.lists(CAPTIONS, max_size=2), st.lists(CAPTIONS, max_size=1), st.lists(MOVES, max_size=1), st.lists(FILTERS, max_size=1),
    st.lists(st.one_of(TEXTS, SPANS), max_size=1), SAYS, st.none() | FIELDS, st.floats(), st.floats(),
)  # fmt: skip
@example(["..."], [], [], [], [], "", None, 1, 0)
@example(["a woman"], ["::"], [], [], [], "", None, 1, 0)
@example(["a\x001\x00b"], [], [], [], [], "", None, 1, 0)
@example([], [], ["calm -> ..."], [], [], "", None, 1, 0)
@example([], [], [], [], ["x" * 3000], "", None, 1, 0)
@example([], [], [], [], [f"take.wav:{'9' * 400}-"], "", None, 1, 0)
@example(["a woman"], [], [], [], [], "/---/", None, 1, 0)
@example(["a woman"], [], [], [], [], "///", None, 1, 0)
@example(["a woman"], [], [], [], [], "\x00", None, 1, 0)
@example(["a woman"], [], [], [], [], "", None, float("nan"), 0)
@example([], [], [], [], ["0\n"], "", None, 1, 0)
def test_queries(store, mini, captions, without, move, where, like, says, group, fold, least):
    try:
        spec = QuerySpec(
            captions=captions, like=like, without=without, move=move, where=where, spoken_text=says,
            group_by=group, fold=fold, min_score=least, limit=3,
        )  # fmt: skip
        hits = search_index(parse_query(spec, parse_sound, str), store, mini)
        json.dumps(search_document(spec, hits, clips=len(hits)), allow_nan=False).encode()
    except REFUSALS as refused:
        assert is_sentence(str(refused))


@fuzzed(100)
@given(st.lists(TEXTS, max_size=3), st.lists(st.one_of(TEXTS, TEXTS.map("{{}} {}".format)), max_size=1), TEXTS)
@example(["a", "..."], [], "label")
@example(["a", "b"], ["{0}"], "label")
@example(["a", "b"], ["{x!r} {}"], "label")
@example(["a", "w\udcf6man"], [], "label")
def test_label_sets(mini, labels, templates, name):
    try:
        asked = label_set(mini, name, labels, templates)
        assert np.isfinite(asked.vectors).all()
    except REFUSALS as refused:
        assert is_sentence(str(refused))


REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "caption": CAPTIONS,
        "captions": st.lists(CAPTIONS, max_size=2),
        "not": st.lists(CAPTIONS, max_size=1),
        "like": st.lists(st.one_of(TEXTS, WEIGHTED, SPANS, SPANS.map("sound:{}".format)), max_size=1),
        "move": st.lists(MOVES, max_size=1),
        "liked": st.lists(TEXTS, max_size=1),
        "where": st.lists(FILTERS, max_size=2),
        "facets": st.lists(FIELDS, max_size=1),
        "says": SAYS,
        "language": TEXTS,
        "region": st.one_of(TEXTS, st.lists(st.tuples(NUMBERS, NUMBERS).map(",".join), max_size=4).map(";".join)),
        "group_by": FIELDS,
        "per_group": st.one_of(st.integers(), TEXTS),
        "fold": st.one_of(st.floats(), TEXTS),
        "diverse": st.floats(),
        "min_score": st.floats(),
        "limit": st.one_of(st.integers(-1, 1001), st.floats(), TEXTS),
        "page": st.one_of(st.integers(-1, 10_001), TEXTS),
    },
)


def _checked(answer) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and answer.headers["Content-Type"] == "application/json":
        assert answer.json()["error"] and "\n" not in answer.json()["error"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@fuzzed(100)
@given(REQUEST)
@example({"captions": ["..."]})
@example({"caption": "a\x001\x00b"})
@example({"caption": "\ud800"})
@example({"where": ["speaker=\ud800"]})
@example({"\ud800": "x"})
@example({"where": ["not " * 1000 + "calm"]})
@example({"move": ["calm -> " + "very " * 200_000]})
@example({"min_score": float("nan")})
@example({"fold": float("nan")})
@example({"says": "..."})
def test_api(server, asked):
    _checked(server.post("/api/search", content=json.dumps(asked), headers={"Content-Type": "application/json"}))
    for door in ("/api/search", "/"):
        _checked(server.get(door, params=_sendable(asked)))


def _sendable(value):
    """As an address can have it: JSON alone has a way to write half a character."""
    if isinstance(value, dict):
        return {_sendable(name): _sendable(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_sendable, value))
    return value[:5000].encode("utf-8", "replace").decode() if isinstance(value, str) else value


@fuzzed(40)
@given(CAPTIONS, TEXTS, TEXTS)
@example("...", "a", "b")
@example("a", "...", "{0}")
@example("a\x001\x00b", "a", "{x!r} {}")
def test_uploads(server, take, caption, label, template):
    caption, label, template = map(_sendable, (caption, label, template))
    for door, asked in (
        ("embed", {"captions": caption}),
        ("rerank", {"captions": caption}),
        ("caption", {"captions": caption}),
        ("classify", {"labels": ["calm", label]}),
        ("classify", {"labels": ["calm", "sad"], "templates": template}),
        ("classify", {"attributes": label}),
    ):
        _checked(server.post(f"/api/{door}", data=asked, files=[("files", ("take.wav", take.read_bytes()))]))


@fuzzed(100)
@given(st.sampled_from("Host Origin Cookie Authorization Range Content-Type Content-Length Referer".split()), TEXTS)
@example("Host", "[bad")
@example("Origin", "http://[bad")
@example("Host", "127.0.0.1:port")
def test_headers(server, name, text):
    _checked(server.get("/api/clips/x/audio", headers={name: re.sub("[\r\n]", "", text).encode("utf-8", "replace")}))


@fuzzed(100)
@given(TEXTS, st.sampled_from(["", "/audio", "/peaks", "/recording"]))
def test_clip_ids(server, name, rest):
    from urllib.parse import quote

    answer = server.get(f"/api/clips/{quote(name.encode('utf-8', 'replace'), safe='')}{rest}")
    assert answer.status_code < 500, answer.text


@fuzzed(100)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"a":' * 5000)
@example(b'"\\ud800"')
@example(b'{"caption": 1e999}')
def test_bodies(server, body):
    _checked(server.post("/api/search", content=body, headers={"Content-Type": "application/json"}))


OPTIONS = (
    "--not --like --unlike --move --more --less --says --language --where --facet --group-by "
    "--min-score --fold --diverse -n --page --save"
).split()
ARGUMENTS = st.one_of(
    CAPTIONS.map(lambda text: ("search", "--", text)),
    st.tuples(st.sampled_from(OPTIONS), st.one_of(CAPTIONS, MOVES, SPANS, FILTERS, NUMBERS)).map(
        lambda given: ("search", "a man", *given) if given[0] == "-n" else ("search", "a man", "=".join(given))
    ),
    st.tuples(st.sampled_from("--labels --template --attribute --min-probability --device --model".split()), TEXTS).map(
        lambda given: ("classify", "TAKE", "=".join(given))
    ),
    CAPTIONS.map(lambda text: ("rerank", "--", text, "TAKE")),
    CAPTIONS.map(lambda text: ("embed", f"--caption={text}", "--out", "x.npz")),
    TEXTS.map(lambda text: ("caption", "TAKE", f"--captions={text}")),
    TEXTS.map(lambda text: ("models", "--", text)),
    TEXTS.map(lambda text: ("export-vectors", "--", text)),
)


@fuzzed(25)
@given(ARGUMENTS)
def test_commands(here, library, take, monkeypatch, arguments):
    assume(not any("\x00" in part for part in arguments))  # no shell can pass it
    monkeypatch.setenv("VOXDEX_HOME", str(library))
    monkeypatch.chdir(take.parent)
    done = here(*(str(take) if part == "TAKE" else part for part in arguments))
    assert done.status in (0, 1, 2)
    assert done.status == 0 or done.err.strip().endswith(".")
