"""The command intelligibility."""

import numpy as np

from demo.make_archive import SENTENCES, write
from tests.fakes.spoken import HARBOUR
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.phonetic.evaluation import add_noise


def test_clear_speech_is_more_intelligible_than_noise(process, voxdex, spoken_archive, tmp_path):
    clear = spoken_archive / "en-us-m3-2.wav"
    samples = read_audio(clear, 10)
    noisy = tmp_path / "noisy.wav"
    write(noisy, (32000 * np.clip(add_noise(samples, 0.95, np.random.default_rng(0)), -1, 1)).astype(np.int16), 16_000)
    found = process("intelligibility", clear, noisy, tmp_path / "none.wav", "--text", HARBOUR, "--json")
    assert found.status == 1 and "none.wav" in found.json["failed"][0]["path"]
    right, disturbed = (each["intelligibility"] for each in found.json["results"])
    wrong = voxdex("intelligibility", clear, "--text", SENTENCES[0], "--json").json["results"][0]["intelligibility"]
    assert right > 0.7 and right > disturbed + 0.2 and wrong < 0.4


def test_table_of_utterances(voxdex, here, spoken_archive, tmp_path):
    table = tmp_path / "outputs.csv"
    rows = [f'{spoken_archive}/en-us-f2-{i}.wav,"{sentence}"' for i, sentence in enumerate(SENTENCES)]
    table.write_text("\n".join(["path,text", *rows]))
    shown = voxdex("intelligibility", table, "--save", tmp_path / "scores.csv")
    assert shown.status == 0 and "counted the boats" in shown.out
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5
    table.write_text("path,other\na.wav,b\n")
    assert "needs the columns" in here("intelligibility", table).err
    assert "cannot be read as CSV" in here("intelligibility", tmp_path / "gone.csv").err
