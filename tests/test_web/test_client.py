"""The Python client, and the example of its documentation."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import PATIENCE, ROOT
from voxdex.encoders.audio.reader import read_audio
from voxdex.indexer.store.edge import EdgeStore
from voxdex.search.engine import search_index
from voxdex.search.query import QuerySpec
from voxdex.search.query_parser import parse_query, parse_sound
from voxdex.search.rerank import Reward
from voxdex.web.client import Client, ServerError


def test_client_agrees_with_python(address, clip_count, library_index, mini, demo_archive):
    path, anna = (str(next(demo_archive.glob(name))) for name in ("george*.flac", "anna*"))
    where = ['not whispered and (speaker=anna or duration:1..4) and path~"*-1.*"']
    specs = [
        QuerySpec(captions=["a whispering woman"], without=["shouting"], limit=5),
        QuerySpec(captions=["a man::2", "a woman::0.5"], move=["calm -> angry", "high -> low::0.5"], limit=5, page=2),
        QuerySpec(like=[path], unlike=[anna], group_by="speaker", diverse=0.3, min_score=-1.0),
        QuerySpec(like=[f"{path}:0.5-1.5::2"], fold=1.0),
        QuerySpec(captions=["a voice"], where=where),
    ]
    with Client(address, timeout=PATIENCE) as voices, EdgeStore.open(library_index) as store:
        for spec in specs:
            expected = search_index(parse_query(spec, parse_sound, str), store, mini)
            found = voices.search(spec)
            assert [hit.id for hit in found] == [hit.id for hit in expected]
            assert [replace(hit, score=0, cosine=0) for hit in found] == [replace(hit, score=0, cosine=0) for hit in expected]
        liked = voices.search(QuerySpec(captions=["a man"], liked=[found[0].id], like=[f"{found[-1].id}::0.5"]))
        assert liked and voices.status()["clips"] == clip_count
        captions, speech = voices.embed(["a sad man"], [path])
        assert captions.shape == (1, 256) and np.allclose(
            speech[0], next(iter(mini.embed_speech([read_audio(path)]))), atol=1e-4
        )
        assert voices.classify(path, ["gender"])[0].probabilities.keys() == {"gender"}
        assert len(voices.caption(path, 3)[0]["captions"]) == 3
        takes = [read_audio(path), path]
        assert np.allclose(voices.rewards(takes, ["a man"]), Reward(mini).many(takes, ["a man"] * 2), atol=1e-3)
        with pytest.raises(ServerError, match="A caption is empty"):
            voices.search(QuerySpec(captions=[""]))
        with pytest.raises(ServerError, match=r"no-such-file\.wav cannot be read"):
            voices.search(QuerySpec(like=["no-such-file.wav"]))
    with pytest.raises(ServerError, match="does not answer"):
        Client("http://127.0.0.1:9").status()


def test_documented_example(address, demo_archive, tmp_path):
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.S)
    for number, take in enumerate(sorted(demo_archive.glob("*.wav"))[:2], 1):
        shutil.copy(take, tmp_path / f"take{number}.wav")
    code, here = block.replace("http://127.0.0.1:8765", address), os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=here)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 11, done.stderr
