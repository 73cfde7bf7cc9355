"""What all tasks share: the Lightning module around a loss, and the protocol of a task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seq2seq import checkpoint
from seq2seq.config.schema import Config
from seq2seq.data.batches import Batch, Shape, is_out_of_memory
from seq2seq.data.stream import Window
from seq2seq.errors import UserError
from seq2seq.training.ema import RunningAverage
from seq2seq.training.optimiser import build_optimizer, lr_factor

PROGRESS = "valid/progress"  # what early stopping and the plateau look at


SEEDS_AT_ONCE = 64  # steps whose seeds are made in a row, which is quicker than each in its step


class LitModel(L.LightningModule):
    """What a training does around its loss, whatever the network: the optimiser, its rate, clipping, what is counted.
    Every random draw of a step is a function of (seed, epoch, batch, process).

    Args:
        num_steps, steps_per_epoch: optimiser steps of the whole training and of an epoch, for schedules.
    """

    def __init__(self, config: Config, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.text: dict[str, str] = {}  # digests of the files that are read, for the checkpoints
        self.num_steps, self.steps_per_epoch = num_steps, steps_per_epoch
        self.average = RunningAverage(model, config.optim.ema) if config.optim.ema else None
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None  # of the run that is gone on with
        self.valid_figures: dict[str, float] = {}
        self.train_loss, self.train_tokens = 0.0, 0  # sums since the last validation
        self._losses: list[Tensor] = []  # not in the sum yet: reading each step's would make it wait for the GPU
        # Of the gradients since then: steps, sum and maximum of their norms before clipping, steps that were clipped;
        # and what is not counted in yet, each step's norm and whether it was clipped, on a GPU as tensors.
        self.gradients = [0.0] * 4
        self._norms: list[tuple[float | Tensor, bool | Tensor]] = []
        self._at_work: Shape | str | None = None  # the batch that is trained on

    def configure_optimizers(self) -> Any:
        # In mixed precision Lightning does not clip the gradients of a fused optimiser, which may unscale them itself.
        fused = self.config.trainer.precision == "32-true"
        optimizer = build_optimizer(self.config.optim, self.model, fused=fused)
        if self.config.optim.schedule == "plateau":
            self.plateau = ReduceLROnPlateau(
                optimizer,
                mode="min" if self.config.trainer.monitor == "loss" else "max",
                factor=self.config.optim.plateau_factor,
                patience=self.config.optim.plateau_patience,
                threshold=0.0,
            )
            if self._plateau_state is not None:
                self.plateau.load_state_dict(self._plateau_state)
            return optimizer
        if self.config.optim.schedule == "constant" and not self.config.optim.warmup_steps:
            return optimizer
        sizes = (self.num_steps, self.steps_per_epoch)
        schedule = LambdaLR(optimizer, lambda step: lr_factor(self.config.optim, step, *sizes))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)

    @contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Around a training: say which batch the memory did not suffice for, in its loss, its gradients or its update.

        Raises:
            UserError: if an allocation failed while there was a batch at work.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self._at_work is None or not is_out_of_memory(error):
                raise
            raise self._out_of_memory() from None

    def on_train_batch_start(self, batch: Batch | Window, batch_idx: int) -> None:
        self._at_work = batch.shape
        block, index = divmod(batch_idx, SEEDS_AT_ONCE)
        seed = _step_seeds(self.config.seed, self.current_epoch, block, self.global_rank)[index]
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # manual_seed of all devices takes a stack trace for each
        else:
            torch.manual_seed(seed)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """As the optimiser's own does, which opens a record for torch's profiler as well."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning sets the name of the hook some fifty times in a step; a module would look first whether it is a
        parameter.
        """
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_validation_start(self) -> None:
        if self.average is not None:
            self.average.swap()

    def on_validation_end(self) -> None:
        """The weights come back: after the callbacks' turn, so that the best checkpoint has their average."""
        if self.average is not None:
            self.average.swap()

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """What Lightning would do, with the norm kept."""
        parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        gradients = [one.grad for one in parameters]
        total = nn.utils.get_total_norm(gradients)
        # A GPU is not asked, which would have to be waited for.
        norm = measure = total.item() if total.device.type == "cpu" else total
        if gradient_clip_val and gradient_clip_algorithm == "norm":
            if norm is total or not norm + 1e-6 <= gradient_clip_val:  # torch would multiply by 1 too
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, total)
        elif gradient_clip_val:
            measure = nn.utils.get_total_norm(gradients, norm_type=math.inf)
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        self._norms.append((norm, measure > (gradient_clip_val or math.inf)))
        if len(self._norms) >= 1000:
            self._count_gradients()

    def _count_gradients(self) -> None:
        """Count in what is not, one by one, so that a run that is gone on with has the same sums. In 16-mixed a
        step that overflows is left out, as the scaler leaves it out.
        """
        steps, total, largest, num_clipped = self.gradients
        for norm, clipped in ((float(norm), float(clipped)) for norm, clipped in self._norms):
            if math.isfinite(norm):
                steps, total, largest, num_clipped = steps + 1, total + norm, max(largest, norm), num_clipped + clipped
        self._norms = []
        self.gradients = [steps, total, largest, num_clipped]

    def _counted(self, loss: Tensor, batch: Batch | Window) -> Tensor:
        """The summed loss of a batch as its gradient is to be taken, noted."""
        self.train_tokens += batch.num_tokens
        if loss.device.type == "cpu":
            value = loss.item()
            self.train_loss += value
            if not math.isfinite(value):
                self._refuse_loss(value)
        else:  # added on the CPU later: Apple's GPUs have no float64
            self._losses.append(loss.detach())
            if len(self._losses) >= 1000:
                self._count_losses()
        return loss / batch.loss_scale

    def _count_losses(self) -> None:
        """Add the losses of the steps that are not in the sum yet, in float64."""
        if self._losses:
            for value in torch.stack(self._losses).cpu().double().tolist():
                self.train_loss += value
            self._losses = []

    def _refuse_loss(self, loss: float) -> None:
        raise UserError(
            f"the loss is {loss} at step {self.global_step} (epoch {self.current_epoch}); "
            f"try a smaller optim.lr (now {self.config.optim.lr:g}) "
            f"or optim.clip_norm (now {self.config.optim.clip_norm:g})."
        )

    def on_validation_epoch_start(self) -> None:
        self._at_work = None
        self._count_losses()
        if self.train_tokens and not math.isfinite(self.train_loss):
            self._refuse_loss(self.train_loss)

    def _validated(self) -> None:
        """The figures are known: hand them on, and count from here."""
        self.train_loss, self.train_tokens = 0.0, 0
        self.gradients = [0.0] * 4
        progress = self._progress()
        self.log_dict(self.valid_figures | {PROGRESS: progress}, logger=False)
        if self.plateau is not None:
            self.plateau.step(progress)

    def _progress(self) -> float:
        """The figure that is monitored; while it is 0, as at the start of many a training, the falling loss counts."""
        figure = self.valid_figures[f"valid/{self.config.trainer.monitor}"]
        return figure if figure > 0 or self.config.trainer.monitor == "loss" else -self.valid_figures["valid/loss"]

    def _gradient_figures(self) -> dict[str, float]:
        self._count_gradients()
        steps, total, largest, num_clipped = self.gradients
        mean = total / steps if steps else math.nan
        share = 100 * num_clipped / steps if steps else math.nan
        return {"train/grad_norm": mean, "train/grad_norm_max": largest, "train/clipped": share}

    def _gather(self, mine: Any) -> list[Any]:
        if self.trainer.world_size == 1:
            return [mine]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, mine)
        return parts

    def summary(self) -> str:
        """What a log line says of the last validation, besides the loss and its perplexity."""
        raise NotImplementedError

    def samples(self, count: int) -> str:
        """Some of what the network writes, for people to look at."""
        raise NotImplementedError

    def section(self) -> dict[str, Any]:
        """What a checkpoint holds besides weights and the training's state."""
        raise NotImplementedError

    def _out_of_memory(self) -> UserError:
        """What to say when the batch at work did not fit."""
        raise NotImplementedError

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_save_checkpoint(self, contents: dict[str, Any]) -> None:
        self._count_gradients()
        self._count_losses()
        contents[checkpoint.SECTION] = self.section()
        contents["training"] = {
            "plateau": self.plateau.state_dict() if self.plateau else None,
            "train_loss": self.train_loss,
            "train_tokens": self.train_tokens,
            "gradients": self.gradients,
            "stopped": self.trainer.should_stop,
            "text": self.text,
        }
        if self.average is not None and not self.average.swapped:
            contents["training"]["average"] = self.average.state_dict()

    def on_load_checkpoint(self, contents: dict[str, Any]) -> None:
        training = contents["training"]
        self.train_loss, self._losses = float(training["train_loss"]), []
        self.train_tokens = training["train_tokens"]
        self.gradients = training.get("gradients", [0.0] * 4)
        self._plateau_state = training["plateau"]
        if self.average is not None:
            self.average.load_state_dict(training["average"])


@lru_cache(maxsize=1)
def _step_seeds(seed: int, epoch: int, block: int, rank: int) -> list[int]:
    """The seeds of the steps of one block of an epoch's batches."""
    steps = range(block * SEEDS_AT_ONCE, (block + 1) * SEEDS_AT_ONCE)
    streams = (np.random.SeedSequence([seed, epoch, step, rank]) for step in steps)
    return [int(stream.generate_state(1, np.uint64)[0]) for stream in streams]


def num_batches(config: Config, loader: Sized) -> int:
    """Batches of an epoch, of which Lightning may be told to leave some out: a share or a number of them is left."""
    limit = config.trainer.lightning.get("limit_train_batches")
    if isinstance(limit, float):
        return int(limit * len(loader))
    return min(limit, len(loader)) if isinstance(limit, int) else len(loader)


def num_steps(config: Config, num_batches: int) -> int:
    steps = config.trainer.max_epochs * -(-num_batches // config.trainer.accumulate)
    return steps if config.trainer.max_steps < 0 else min(steps, config.trainer.max_steps)


def test_device(config: Config) -> str:
    return "cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
