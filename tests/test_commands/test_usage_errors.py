"""Wrong use of commands: exit status 2 and one sentence."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("classify",), "Give recordings or folders, or --indexed"),
        (("classify", "--indexed", "x.wav"), "Give recordings or folders, or --indexed"),
        (("classify", "{take}", "--labels", "angry"), "is a single label"),
        (("classify", "{take}", "--labels", "sad,sad"), "must all be different"),
        (("classify", "{take}", "--save", "x.doc"), "must end with .csv or .jsonl"),
        (("classify", "{take}", "--labels", "sad,..."), "The label '...' has no words"),
        (("classify", "{take}", "--labels", ",,"), "has an empty label"),
        (("classify", "{take}", "--labels", "a,w\udcf6"), "is not valid text"),
        (("classify", "{take}", "--min-probability", "nan"), "is not from 0 to 1"),
        (("rerank", "...", "{take}"), "The caption '...' has no words"),
        (("rerank", "w\udcf6man", "{take}"), "'w\\udcf6man' is not valid text"),
        (("rerank", "a man", "{take}", "--reference-weight", "nan"), "is not from 0 to 1"),
        (("rerank", "a man", "{take}", "--like", "{bytes}"), "cannot be read: it is not audio"),
        (("rerank", "a man", "{take}", "--text", "..."), "'...' has no words to pronounce"),
        (("embed", "--caption", "...", "--out", "{folder}/x.npz"), "The caption '...' has no words"),
        (("caption", "{take}", "--captions", "{dots}"), "holds no captions"),
        (("intelligibility", "{take}", "--text", "..."), "'...' has no words to pronounce"),
        (("intelligibility", "https://host.invalid/x.csv"), "x.csv is a URL, and tables are read from this machine only"),
        (("intelligibility", "{folder}"), "cannot be read as CSV"),
        (("intelligibility", "{take}", "--phonemes", "---"), "There is no phoneme in '---'"),
        (("intelligibility", "{take}", "--text", "w\udcf6"), "is not valid text"),
        (("evaluate", "classification", "{take}", "--attribute", "x", "--plot", "x.xyz"), "must end with one of"),
        (("evaluate", "retrieval", "{take}", "--plot", "/no/folder/x.png"), "There is no folder /no/folder"),
        (("annotate", "{folder}", "--out", "/no/folder/an.csv"), "There is no folder /no/folder"),
        (("status", "--url", "not a url"), "'not a url' is no address of a Qdrant server"),
        (("status", "--url", "grpc://127.0.0.1:6334"), "is no address of a Qdrant server"),
        (("status", "--url", "http://127.0.0.1:80x"), "is no address of a Qdrant server"),
        (("status", "--index", "x" * 300), "There is no index at"),
        (("serve", "--host", "bad..host"), "cannot listen at bad..host"),
        (("serve", "--token", "ü"), "write it in letters and digits"),
        (("classify", "x" * 300), "File name too long"),
        (("rerank", "a man"), "There are no takes to rank"),
        (("rerank", "", "{take}"), "There is nothing to rank takes by"),
        (("rerank", "", "{take}", "--like", "gone.wav"), "gone.wav cannot be read"),
        (("rerank", "{folder}"), "input_descriptions.txt cannot be read"),
        (("caption", "gone.wav"), "there is no such file"),
        (("evaluate", "index"), "There is no index"),
    ],
)
def test_wrong_use_in_process(here, takes, tmp_path, arguments, words):
    files = {"take": takes[0], "folder": tmp_path, "bytes": tmp_path / "bytes.wav", "dots": tmp_path / "dots.txt"}
    files["bytes"].write_bytes(b"nonsense" * 99)
    files["dots"].write_text("...\n,\n👩\n")
    done = here(*(part.format(**files) for part in arguments))
    assert done.status == 2 and words in " ".join(done.err.split()), done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "empty"),
        (["search", "x", "--where", "nonsense"], "nor a condition"),
        (["search", "x", "--where", "shoe=1"], "no field 'shoe'"),
        (["search", "x", "--like", "/nowhere.wav"], "no such file"),
        (["search", "x", "-n", "0"], "Invalid value"),
        (["search", "..."], "The caption '...' has no words"),
        (["search", "sad::abc"], "The weight of 'sad::abc' is no number"),
        (["search", "x", "--not", "a man::"], "The weight of 'a man::' is no number"),
        (["search", "x", "--width", "5"], "Invalid value for '--width'"),
        (["search", "x", "--not", "::"], "The caption '::' has no words"),
        (["search", "x", "--move", "calm -> ,"], "The caption ',' has no words"),
        (["search", "--says", "..."], "'...' has no words to pronounce"),
        (["search", "--says", "///"], "'///' has no words to pronounce"),
        (["search", "a w\udcf6man"], "'a w\\udcf6man' is not valid text"),
        (["search", "x", "--where", "speaker=\udcf6"], "is not valid text"),
        (["search", "x", "--where", "not " * 1000 + "calm"], "more than 40 deep"),
        (["search", "x", "--fold", "nan"], "is not from 0 to 1"),
        (["search", "x", "--min-score", "nan"], "lowest score must be a finite number"),
        (["search", "--like", "x" * 300], "File name too long"),
        (["search", "--like", "{audio}/low.wav:" + "9" * 400 + "-"], "lies beyond"),
        (["search", "x", "--group-by", "..."], "no field '...'"),
        (["search", "x", "--facet", "..."], "no field '...'"),
        (["index", "/nowhere"], "no such file or folder"),
        (
            ["classify", "{audio}/low.wav", "--attribute", "gender", "--attribute", "pitch", "--labels", "a,b"],
            "one --attribute",
        ),
        (["classify", "{audio}/low.wav", "--labels", ","], "empty label"),
        (["classify", "{audio}/low.wav", "--labels", "a,a"], "different"),
        (["embed", "{audio}/low.wav", "--out", "/nowhere/x.npz"], "no folder"),
        (["index", "{empty}"], "no recordings"),
        (["index", "{audio}", "--model", "maxi"], "no model 'maxi'"),
        (["classify", "{audio}/low.wav", "--attribute", "mood"], "no attribute 'mood'"),
        (["classify", "{audio}/low.wav", "--attribute", "gender", "--template", "x"], "where the label goes"),
        (["classify", "/nowhere.wav"], "no such file"),
        (["embed", "--out", "x.npz"], "at least one"),
        (["evaluate", "classification", "{audio}/low.wav", "--attribute", "gender"], "cannot be read as CSV"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_use(voxdex, indexed_recordings, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    ran = voxdex(*[argument.format(audio=indexed_recordings, empty=tmp_path / "empty") for argument in arguments])
    assert ran.status == 2 and message in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "x", "--per-group", 2], "--per-group does nothing without --group-by"),
        (["search", "x", "--language", "de"], "--language does nothing without --says"),
        (["search", "x", "--collection", "y"], "--collection does nothing without --url"),
        (["index", ".", "--ray-address", "local"], "--ray-address does nothing without --backend ray"),
        (["check", "--no-vad"], "--no-vad does nothing without --repair"),
        (["classify", "--indexed", "--model", "mini"], "--model does nothing without recordings"),
        (["classify", "x.wav", "--index", "y"], "--index does nothing without --indexed"),
    ],
)
def test_options_that_would_do_nothing_are_refused(here, arguments, words):
    refused = here(*arguments)
    assert refused.status == 2 and words in " ".join(refused.err.split())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_too_little_memory_is_a_sentence(here, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("voxdex.indexer.location.LocalIndex.read", fail)
    failed = here("status")
    assert failed.status == 2 and "There is too little memory" in failed.err
