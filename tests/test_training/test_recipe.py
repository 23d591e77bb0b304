"""Training recipes and changes of their fields."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.training.recipe import RecipeError, known_recipes, load_recipe


def test_recipes_follow_the_papers():
    assert {"paraspeechclap-intrinsic", "paraspeechclap-situational", "paraspeechclap-combined"} <= set(known_recipes())
    situational, combined, intrinsic = (
        load_recipe(f"paraspeechclap-{name}") for name in ("situational", "combined", "intrinsic")
    )
    assert (situational.schedule.epochs, situational.schedule.batch, situational.schedule.learning_rate) == (25, 128, 1e-5)
    assert (combined.schedule.epochs, combined.loss.positives) == (5, "identity")
    assert (intrinsic.schedule.steps, intrinsic.schedule.epochs, intrinsic.sampling.order) == (4500, 0, "balanced")
    assert (intrinsic.loss.tags, intrinsic.loss.tag_scale, len(intrinsic.loss.tag_templates)) == (1.0, "none", 6)
    assert intrinsic.projection == {"kind": "residual", "dimension": 768, "dropout": 0.5}
    assert load_recipe("ess-clap").speech_tower["layers"] == "weighted"
    student = load_recipe("ra-clap", ("init_from=runs/ess",))
    assert (student.loss.contrastive, student.loss.self_distillation, student.loss.distillation_temperature) == (0.0, 1.0, 0.05)
    assert load_recipe("mini").loss.positives == load_recipe("fine-tune").loss.positives == "labels"


def test_another_kind_of_tower_inherits_no_options():
    mini = load_recipe("mini-speech")
    changed = load_recipe("mini-speech", ("speech_tower.kind=convnext", "speech_tower.kernel=9"))
    assert mini.speech_tower["kind"] == "whisper" and changed.speech_tower == {"kind": "convnext", "kernel": 9}
    assert changed.text_tower == mini.text_tower
    assert load_recipe("mini-speech", ("speech_tower.kind=whisper",)).speech_tower == mini.speech_tower
    second = load_recipe("mini")
    assert second.speech_tower["layers"] == [1, 2, 3] and "hidden" not in second.text_tower
    assert second.loss == mini.loss and second.card["notes"] and load_recipe("mini-open").loss == mini.loss


def test_takes_need_a_frozen_speech_tower():
    assert load_recipe("mini").schedule.takes == 3
    with pytest.raises(RecipeError, match=r"schedule\.takes need schedule\.speech_tower_rate = 0"):
        load_recipe("mini", ("schedule.speech_tower_rate=0.1",))


def test_change_fields_of_a_recipe(tmp_path):
    changed = load_recipe(
        "paraspeechclap-situational", ("schedule.steps=7", "text_tower.source=/a b/c", "loss.tag_columns=['x']")
    )
    assert (changed.schedule.steps, changed.schedule.epochs, changed.text_tower["source"]) == (7, 0, "/a b/c")
    assert changed.loss.tag_columns == ("x",)
    (tmp_path / "mine.toml").write_text('extends = "mini"\n[schedule]\nepochs = 2\n')
    assert load_recipe(str(tmp_path / "mine.toml")).schedule.epochs == 2
    for change, words in (
        ("steps", "not an assignment"),
        ("schedule.precision=fp8", "'fp32' or 'bf16'"),
        ("schedule.batch=1", "must be 2 or more"),
        ("schedule.learning_rate=-1", "cannot be negative"),
        ("nonsense.a=1", "no field 'nonsense' in a recipe"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe("mini", (change,))
