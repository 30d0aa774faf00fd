"""Trains one of anomalib's models in anomalib's own environment: THAT/bin/python benchmarks/peer_training.py --help.

Its own data module, engine, losses and optimisers with their defaults; only how long it trains, the batch and the size
are ours. Prints one line of JSON and writes the torch model as OUT/NAME.onnx. Needs nothing of this toolkit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("ganomaly", "draem"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cpu-minutes", type=float, default=6.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="32-true")
    print(json.dumps(trained(parser.parse_args())), flush=True)


def trained(given: argparse.Namespace) -> dict[str, Any]:
    """Train, test and export."""
    warnings.simplefilter("ignore")
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from lightning.pytorch import seed_everything

    seed_everything(0)
    torch.set_num_threads(1)
    model = _model(given)
    data = Folder(
        name="peer",
        root=given.data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=sorted(f"test/{d.name}" for d in (given.data / "test").iterdir() if d.name != "good"),
        train_batch_size=given.batch_size,
        eval_batch_size=16,
        num_workers=0,
        val_split_mode="same_as_test",
    )
    with tempfile.TemporaryDirectory() as folder:
        limit = _limit(60 * given.cpu_minutes)
        engine = Engine(
            max_epochs=100_000, accelerator="cpu", devices=1, precision=given.precision, callbacks=[limit],
            default_root_dir=folder, logger=False, limit_val_batches=0, enable_progress_bar=False,
        )  # fmt: skip
        engine.fit(model=model, datamodule=data)
        figures = engine.test(model=model, datamodule=data)[0]
    _export(model, given)
    return {
        "image_auroc": round(float(figures["image_AUROC"]), 4),
        "minutes": round(limit.spent_s / 60, 2),
        "steps": limit.steps,
        "images": limit.steps * given.batch_size,
        "parameters": sum(p.numel() for p in model.model.parameters()),
    }


def _model(given: argparse.Namespace) -> Any:
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
    from anomalib.models import Draem, Ganomaly

    size = (given.size, given.size)
    if given.name == "ganomaly":
        sizes = Ganomaly.configure_pre_processor(size)
        return Ganomaly(batch_size=given.batch_size, pre_processor=sizes, visualizer=False)
    # without its texture images DRAEM cuts its anomalies out of Perlin noise, as PerlinAnomalyGenerator offers
    with tempfile.TemporaryDirectory() as empty:
        model = Draem(dtd_dir=empty, pre_processor=Draem.configure_pre_processor(size), visualizer=False)
    model.augmenter = PerlinAnomalyGenerator(anomaly_source_path=None, blend_factor=(0.1, 1.0))
    return model


def _limit(seconds: float) -> Any:
    """A callback that ends training after so much CPU time of this process."""
    from lightning.pytorch.callbacks import Callback

    class Limit(Callback):  # type: ignore[misc, unused-ignore]
        spent_s, steps = 0.0, 0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.started = time.process_time()

        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            self.spent_s, self.steps = time.process_time() - self.started, self.steps + 1
            trainer.should_stop = self.spent_s > seconds

    return Limit()


def _export(model: Any, given: argparse.Namespace) -> None:
    import torch

    given.out.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model.model.cpu().eval(), (torch.rand(1, 3, given.size, given.size),), str(given.out / f"{given.name}.onnx"),
        dynamo=False, opset_version=17, input_names=["frame"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
