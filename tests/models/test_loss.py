"""The output layer and its loss as one function, against torch's two."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.models import loss as module
from seq2seq.models.loss import linear_cross_entropy


def arguments(tokens: int, width: int, vocab: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = ((tokens, width), (vocab, width), (vocab,))
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    targets = torch.randint(0, vocab, (tokens,), generator=generator)
    return *(one.requires_grad_() for one in drawn), targets


@pytest.fixture(autouse=True)
def nothing_is_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW_LOGITS", 0)


def both(smoothing: float, scale: float, *given: Tensor) -> list[list[Tensor]]:
    """Loss and gradients: ours, and torch's."""
    features, weight, bias, targets = given
    ours = linear_cross_entropy(features, weight, bias, targets, label_smoothing=smoothing)
    logits = F.linear(features, weight, bias)
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    theirs = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    return [[one, *torch.autograd.grad(one * scale, [features, weight, bias])] for one in (ours, theirs)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("chunk", [1, 21, 10**6])
def test_loss_and_gradients_are_those_of_torch(smoothing: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)  # 1 is a row at a time, 21 three rows
    monkeypatch.setattr(module, "CHUNK_ROWS", 1)
    for tokens in (1, 8):
        ours, theirs = both(smoothing, 0.37, *arguments(tokens, 5, 7))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_logits_have_the_loss_of_many(
    smoothing: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, weight, bias, targets = arguments(40, 6, 11)
    given = [one.detach().float().requires_grad_() for one in (features, weight, bias)]
    found = []
    for few in (0, 40 * 11 - 1, 40 * 11):
        monkeypatch.setattr(module, "FEW_LOGITS", few)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = linear_cross_entropy(*given, targets, label_smoothing=smoothing)
        assert loss.dtype == torch.float32
        assert ("LinearCrossEntropy" in type(loss.grad_fn).__name__) == (few < 40 * 11)
        found.append([loss, *torch.autograd.grad(loss, given)])
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[2], found[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_those_of_differences(smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", 12)
    monkeypatch.setattr(module, "CHUNK_ROWS", 1)
    *given, targets = arguments(5, 3, 6)
    assert torch.autograd.gradcheck(
        lambda *three: linear_cross_entropy(*three, targets, label_smoothing=smoothing), given
    )


def r_drop_of_torch(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float, share: float
) -> Tensor:
    """Liang et al. (2021), equations 2 to 4, halved, from torch's own functions."""
    logits = F.linear(features, weight, bias)
    log_p, log_q = logits.log_softmax(1).chunk(2)
    losses = F.cross_entropy(logits, targets.repeat(2), reduction="sum", label_smoothing=smoothing)
    both_ways = F.kl_div(log_p, log_q, reduction="sum", log_target=True) + F.kl_div(
        log_q, log_p, reduction="sum", log_target=True
    )
    return (losses + share * both_ways / 2) / 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 42, 10**6])
def test_r_drop_is_that_of_torch(smoothing: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)  # 1 is a target at a time, 42 three targets
    monkeypatch.setattr(module, "CHUNK_ROWS", 1)
    for tokens in (1, 8):
        features, weight, bias, _ = arguments(2 * tokens, 5, 7)
        targets = torch.randint(0, 7, (tokens,))
        ours = linear_cross_entropy(features, weight, bias, targets, label_smoothing=smoothing, consistency=5.0)
        theirs = r_drop_of_torch(features, weight, bias, targets, smoothing, 5.0)
        for one, other in zip(
            *([one, *torch.autograd.grad(0.37 * one, [features, weight, bias])] for one in (ours, theirs)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_equal_passes_have_nothing_between_them() -> None:
    features, weight, bias, targets = arguments(6, 5, 7)
    twice = linear_cross_entropy(torch.cat([features, features]), weight, bias, targets, consistency=5.0)
    torch.testing.assert_close(twice, linear_cross_entropy(features, weight, bias, targets), rtol=1e-12, atol=1e-12)


def test_predictions_that_exclude_each_other_are_finitely_far_apart() -> None:
    features = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    loss = linear_cross_entropy(features, weight, bias, torch.tensor([0]), consistency=4.0)
    loss.backward()
    # Cross-entropies 0 and 600, halved; each is 600 from the other.
    assert loss.item() == 600 / 2 + 4.0 / 4 * (600 + 600)
    assert features.grad is not None and features.grad.isfinite().all()


def test_logits_of_any_size_give_finite_losses() -> None:
    features = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [0.0], [-1.0]]), torch.zeros(3)
    loss = linear_cross_entropy(features, weight, bias, torch.tensor([2, 2]))
    loss.backward()
    assert loss.item() == 2e4  # 1e4 - (-1e4) and 0
    assert features.grad is not None
    torch.testing.assert_close(features.grad, torch.tensor([[2.0], [0.0]]))


def test_a_logit_that_is_no_number_makes_the_loss_none() -> None:
    features, weight, bias, targets = arguments(4, 2, 3)
    with torch.no_grad():
        features[2, 0] = torch.nan
    assert linear_cross_entropy(features, weight, bias, targets).isnan()


def test_without_gradients_the_loss_is_the_same() -> None:
    given = arguments(9, 4, 5, torch.float32)
    with torch.no_grad():
        alone = linear_cross_entropy(*given, label_smoothing=0.1)
    assert torch.equal(alone, linear_cross_entropy(*given, label_smoothing=0.1).detach())


def test_mixed_precision_multiplies_in_its_type_and_sums_in_float32() -> None:
    given = arguments(40, 16, 11, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = both(0.1, 1.0, *given)
    assert [one.dtype for one in ours] == [torch.float32] * 4
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.05)
