"""A model and a camera to measure a station with. Apart from the bundle's making, so that stations load no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.camera.pattern import PatternCamera
from edge.camera.settings import CameraSettings
from edge.preprocess import Preprocessing, preprocess


@dataclass(frozen=True)
class Case:
    """Method, side of the model's input, base width, and the camera's picture size."""

    method: str
    size: int
    width: int
    camera: tuple[int, int] = (640, 480)

    @property
    def url(self) -> str:
        """Address of the camera."""
        return f"pattern://?width={self.camera[0]}&height={self.camera[1]}"

    def frames(self, count: int) -> NDArray[np.uint8]:
        """Pictures as the station's engine sees them, uint8 [count, size, size, 3]."""
        camera, spec = PatternCamera(self.url, CameraSettings(realtime=False)), self.preprocessing
        return np.stack([preprocess(camera.read(1.0).image, spec) for _ in range(count)])

    @property
    def preprocessing(self) -> Preprocessing:
        """Square and coloured."""
        return Preprocessing(height=self.size, width=self.size, colour="bgr")
