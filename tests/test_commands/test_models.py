"""The command models."""


def test_models(process):
    (model, *_) = process("models", "--json").json["models"]
    assert model["name"] == "mini" and model["licence"] and model["space"].startswith("mini@")
    assert "mini" in process("models").out
