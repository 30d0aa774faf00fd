"""One process or many, CPU or GPU: what the loop needs to know of lightning-fabric."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from edge.errors import MissingError, UsageError

PRECISIONS = ("auto", "fp32", "bf16")


def open_fabric(device: str, precision: str = "auto") -> Fabric:
    """Fabric for `device`: auto, cpu, cuda or cuda:N; under torchrun, one process per worker that it started.

    `precision`: fp32; bf16 for mixed precision, weights and optimisers in fp32; auto for bf16 on a GPU that has it and
    fp32 elsewhere. Raises MissingError if a named GPU, or its bf16, is not there, UsageError for another name.
    """
    kind, _, number = (
        ("cuda" if torch.cuda.is_available() else "cpu", "", "") if device == "auto" else device.partition(":")
    )
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"no device {device}", "it must be auto, cpu, cuda or cuda:N", "correct --device")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise MissingError(f"no device {device}", f"torch sees {torch.cuda.device_count()} GPUs", "use --device cpu")
    workers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // workers
    half = _wants_half(precision, kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*srun.*")  # a hint about a cluster's launcher, not about us
        fabric = Fabric(
            accelerator=kind,
            devices=[int(number)] if number else workers,
            num_nodes=nodes,
            strategy="ddp" if workers * nodes > 1 else "auto",
            precision="bf16-mixed" if half else "32-true",
        )
    fabric.launch()
    return fabric


def _wants_half(precision: str, kind: str) -> bool:
    if precision not in PRECISIONS:
        raise UsageError(f"no precision {precision}", f"it must be one of {', '.join(PRECISIONS)}", "correct it")
    can = kind == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bf16" and kind == "cuda" and not can:
        raise MissingError("no bf16 on this GPU", "it has no bfloat16 arithmetic", "use --precision fp32")
    return can if precision == "auto" else precision == "bf16"


def close_fabric() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(optimiser: Optimizer) -> None:
    """Replace each gradient by its mean over processes.

    Written out instead of wrapping networks in DistributedDataParallel, which knows neither several losses per network
    and step nor second derivatives.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    gradients = [p.grad for p in parameters_of(optimiser) if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def parameters_of(optimiser: Optimizer) -> Sequence[Tensor]:
    """All tensors that the optimiser changes."""
    return [p for group in optimiser.param_groups for p in group["params"]]


def any_says(answer: bool, device: torch.device) -> bool:
    """True in every process if `answer` is True in one."""
    if not (dist.is_available() and dist.is_initialized()):
        return answer
    votes = torch.tensor([float(answer)], device=device)
    dist.all_reduce(votes)
    return bool(votes.item() > 0)


def mean_over(value: float, device: torch.device) -> float:
    """The mean of every process's `value`."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total.item()) / dist.get_world_size()
