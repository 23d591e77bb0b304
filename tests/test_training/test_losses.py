"""Training losses, against values worked out by hand."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.training.losses import (
    attribute_classification,
    contrastive,
    match,
    multi_positive,
    self_distillation,
    tag_classification,
)


def test_match_leaves_unknown_claims_at_zero():
    truth = torch.tensor([[1, -1, 0], [1, 1, 1]])
    claims = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]])
    assert match(truth, claims).tolist() == [[1, -1, 0], [1, 1, 1]]


def test_multi_positive_loss():
    logits = torch.tensor([[2.0, 1.0, 5.0, 0.0]])
    matches = torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    shares = torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0)
    assert multi_positive(logits, matches).item() == pytest.approx(-(shares[0].log() + shares[1].log()).item() / 2, abs=1e-5)
    assert multi_positive(logits, torch.tensor([[0.0, 0, 0, -1]])).item() == 0


def test_contrastive_loss_is_infonce_for_one_clip_per_caption():
    logits = torch.randn(5, 5)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5)) + torch.nn.functional.cross_entropy(
        logits.T, torch.arange(5)
    )
    assert contrastive(logits, 2 * torch.eye(5) - 1).item() == pytest.approx(expected.item() / 2, abs=1e-5)


def test_classification_loss_sums_over_possible_labels():
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    shares = torch.softmax(logits[0, :3], 0)
    truth = torch.tensor([[0, 0, -1, 0], [0, 0, 0, 0]])
    found = attribute_classification(logits, truth, [[0, 1, 2], [3]])
    assert found.item() == pytest.approx(-(shares[0] + shares[1]).log().item(), abs=1e-5)


def test_attribute_weights():
    logits, truth = torch.tensor([[2.0, 0.0, 0.0, 5.0]]), torch.tensor([[1, -1, 1, -1]])
    columns = [[0, 1], [2, 3]]
    first, second = (attribute_classification(logits, truth, [part]).item() for part in columns)
    weighted = attribute_classification(logits, truth, columns, [3.0, 1.0]).item()
    assert weighted == pytest.approx((3 * first + second) / 4) != attribute_classification(logits, truth, columns).item()


def test_tag_loss_ignores_clips_without_tags():
    logits, tags = torch.tensor([[2.0, -1.0], [0.5, 0.5], [3.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    sure = torch.sigmoid(torch.tensor([2.0, 1.0, -0.5, 0.5])).log()
    assert tag_classification(logits, tags).item() == pytest.approx(-sure.mean().item(), abs=1e-6)
    assert tag_classification(logits, torch.zeros(3, 2)).item() == 0


@pytest.mark.parametrize("form", ["cross-entropy", "squared"])
def test_self_distillation_is_minimal_where_student_equals_teacher(form):
    teacher = torch.tanh(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    student = teacher.clone().requires_grad_()
    here = self_distillation(student, teacher, form, 0.05)
    here.backward()
    assert student.grad.abs().max() < 1e-5
    assert self_distillation(teacher + 0.1 * torch.randn(6, 6), teacher, form, 0.05) > here
    if form == "cross-entropy":
        rows = -((teacher / 0.05).softmax(1) * (teacher / 0.05).log_softmax(1)).sum(1).mean()
        columns = -((teacher / 0.05).softmax(0) * (teacher / 0.05).log_softmax(0)).sum(0).mean()
        assert here.item() == pytest.approx((rows + columns).item() / 2, rel=1e-5)


def test_match_of_negated_claims():
    truth = torch.tensor([[1, -1], [-1, 1], [1, 0]])
    claims = torch.tensor([[1.0, -1.0], [0.0, -1.0]])
    assert match(truth, claims).tolist() == [[1, 1], [-1, -1], [0, 0]]


def test_weight_of_ambiguous_labels():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    truth = torch.tensor([[1, -1, -1], [0, 0, -1]])
    shares = torch.softmax(logits, dim=1)
    certain, possible = -shares[0, 0].log().item(), -shares[1, :2].sum().log().item()
    for ambiguous in (1.0, 0.1, 0.0):
        mean = (certain + ambiguous * possible) / (1 + ambiguous)
        assert attribute_classification(logits, truth, [[0, 1, 2]], None, ambiguous).item() == pytest.approx(mean, abs=1e-5)
    assert attribute_classification(logits[1:], truth[1:], [[0, 1, 2]], None, 0.0).item() == 0
